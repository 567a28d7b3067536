"""Models in worker processes: each stream and call is answered by one worker, as it would be here.

The service's end of it:  registry -> pool -> link (one a worker) -> exchange <- stream <- model
Between the two:          channel, frames, payloads, messages
The worker's end:         worker -> session -> answering, held_sequences
Pure:                     frames, payloads, window, sequence_table, restarts

It knows no wire, and no cache: the core gives it requests and takes responses.
"""
