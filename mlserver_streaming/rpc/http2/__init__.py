"""gRPC's server over HTTP/2 in this process's own event loop, in place of `grpc.aio.server`.

It has that server's interface as far as `rpc/` uses it: handlers, interceptors and servicers are
the same. grpc.aio hands every message to another thread and waits for it; here what is ready leaves
in one write. `h2` knows the protocol; here is what gRPC says on it, and the bounds.
It knows no service and no message's content.
"""
