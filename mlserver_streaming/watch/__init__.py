"""What an operator sees: metrics, the folder that processes share them in, one log line a stream.

The server that shows the metrics is an edge, `rest/metrics_server.py`, and so is tracing
(`rest/tracing.py`, `rpc/interceptors.py`); the cache counts in `cache/figures.py`.
"""
