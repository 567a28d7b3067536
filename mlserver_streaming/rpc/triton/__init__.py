"""Triton's dialect of the protocol: the same requests, other replies, and what only it asks for."""
