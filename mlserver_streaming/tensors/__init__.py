"""Tensors of the V2 protocol to and from JSON, raw bytes, base64 and protobuf's fields: pure."""
