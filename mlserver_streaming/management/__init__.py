"""What Triton's clients ask about the service beside inference: a model's configuration and
statistics, the log's and the traces' settings, as Triton's JSON has them.

No wire: rest/ and rpc/ ask here, and write it. What a load may change is `streams/overrides.py`.
"""
