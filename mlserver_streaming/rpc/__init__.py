"""The gRPC edge: MLServer's dialect on its port, Triton's (`triton/`) on another.

Messages are decoded here, by `tensors/`, handed to the core, and its answers encoded. Whatever
holds for every wire (ids, limits, deadlines, routing) is the core's.
"""
