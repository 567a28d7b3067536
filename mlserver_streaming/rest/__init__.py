"""The HTTP edge: requests read, answers and server-sent events written.

Bytes are decoded here, by `tensors/`, handed to the core, and its answers encoded. Whatever holds
for every wire (ids, limits, deadlines, routing) is the core's.
"""
