"""A Triton user's clients over TLS, gRPC and HTTP. Prints JSON.

Runs in a process of its own: tritonclient brings a second copy of the inference.* protobuf.
"""

import json
import queue
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.http as triton_http


def prompt(module: Any) -> Any:
    made = module.InferInput("prompt", [1], "BYTES")
    made.set_data_from_numpy(np.array([b"a b"], dtype=object))
    return made


def main(address: str, http_address: str, ca: str) -> None:
    found: dict[str, Any] = {}
    client = triton.InferenceServerClient(address, ssl=True, root_certificates=ca)
    found["ready"] = client.is_model_ready("text-model")
    replies: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: replies.put((result, error)))
    client.async_stream_infer("text-model", [prompt(triton)], parameters={"delay": 0.0})
    results = [replies.get(timeout=20) for _ in range(2)]
    client.stop_stream()
    found["words"] = [result.as_numpy("output")[0].decode() for result, error in results]

    with triton_http.InferenceServerClient(
        http_address, ssl=True, ssl_options={"ca_certs": ca}
    ) as http:
        result = http.infer("text-model", [prompt(triton_http)], parameters={"delay": 0})
        found["http"] = [word.decode() for word in result.as_numpy("output")]
    print(json.dumps(found))


main(*sys.argv[1:])
