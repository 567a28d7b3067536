"""Requests that come one after another in one HTTP body: lines of JSON, or parts of a multipart.

They are one stream of requests, as a gRPC stream is; what they are answered with is the core's, and
how it is written rest/events.py's.
"""
