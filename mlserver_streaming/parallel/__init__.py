"""Models in worker processes: each stream and call is answered by one worker, as it would be here.

The service's end of it:  registry -> pool -> link (one a worker) <- stream <- model
Between the two:          channel, frames, payloads, messages
The worker's end:         worker -> session -> answering
Pure:                     frames, payloads, window, sequence_table, restarts
"""
