"""Who calls, and what they may do: keys, tokens, roles; TLS, its files and its memory.

No wire: how a caller's key comes with a request is the edges' own (`rest/auth.py`, `rpc/auth.py`).
"""
