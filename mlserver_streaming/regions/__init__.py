"""Regions of system shared memory, through which clients on this host pass tensors.

A client makes a file under /dev/shm, registers it under a name, and then names it in its requests
in the place of data. This room knows whose regions there are, opens them, and copies out of them
and into them. It knows no wire: the edges ask it what a tensor's parameters stand for. CUDA's
shared memory is none of its business.

Nothing is mapped. The owner of a file may cut it short at any time, and who touches a mapped page
that is gone is killed by SIGBUS; a file that is read with `preadv` and written with `pwrite` says
that it has ended. It is one copy each way, of memory, and nobody changes a tensor that a model
works on.
"""
