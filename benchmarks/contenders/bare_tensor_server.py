"""The least that a grpc.aio server can do with a tensor: look at its bytes, answer three numbers.

Started by contenders.bare as `python -m benchmarks.contenders.bare_tensor_server PORT`.
"""

import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import uvloop

from ..inputs.tensor_request import ELEMENTS, tensor_response
from .contenders import MAX_MESSAGE_BYTES

ITEM_BYTES = 4


async def answer(messages: AsyncIterator[bytes], context: Any) -> None:
    """The raw tensor is the last field of its message, so it ends where the message does."""
    async for message in messages:
        view = np.frombuffer(
            message, np.float32, ELEMENTS, offset=len(message) - ELEMENTS * ITEM_BYTES
        )
        await context.write(tensor_response(view[[0, ELEMENTS // 2, -1]]))


async def serve(port: int) -> None:
    """Serve on the loopback until killed."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)])
    method: Any = grpc.stream_stream_rpc_method_handler(answer)
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "inference.GRPCInferenceService", {"ModelStreamInfer": method}
            ),
        )
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
