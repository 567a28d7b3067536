"""Who calls, and what they may do: keys, tokens, roles, and the files of TLS.

No wire: how a caller's key comes with a request is the edges' own (`rest/auth.py`, `rpc/auth.py`).
"""
