"""Tensors and parameters of the V2 protocol to and from their wire forms: pure.

JSON, raw bytes, base64, and protobuf's fields. No I/O, no stream and no model; an error here is the
request's fault and says what to send instead. Which form a message has is the edges' to know.
"""
