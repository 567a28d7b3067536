"""Stands before the real httptools on a contender's path: `pip install mlserver` brings none.

uvicorn then parses with h11, as it does for everyone who serves with MLServer alone.
"""

raise ImportError("httptools is not part of MLServer's installation")
