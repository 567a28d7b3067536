"""A Triton user's streaming client: start_stream, async_stream_infer, stop_stream. Prints JSON.

Runs in a process of its own: tritonclient brings a second copy of the inference.* protobuf.
"""

import json
import queue
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton


def tensor(name: str, *elements: bytes) -> triton.InferInput:
    array = np.array(elements, dtype=object)
    made = triton.InferInput(name, array.shape, "BYTES")
    made.set_data_from_numpy(array)
    return made


def successes(client: triton.InferenceServerClient) -> int:
    (found,) = client.get_inference_statistics("text-model").model_stats
    return int(found.inference_stats.success.count)


def main(address: str) -> None:
    client = triton.InferenceServerClient(address)
    config = client.get_model_config("text-model", as_json=True)["config"]
    found: dict[str, Any] = {
        "ready": client.is_server_live() and client.is_model_ready("text-model"),
        "decoupled": config["model_transaction_policy"]["decoupled"],
        "input": client.get_model_metadata("text-model").inputs[0].name,
        "statistics": client.get_inference_statistics("text-model").model_stats[0].name,
    }
    before = successes(client)
    for _ in range(3):
        client.infer("text-model", [tensor("prompt", b"a")], parameters={"delay": 0.0})
    found["unary calls counted"] = successes(client) - before
    replies: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: replies.put((result, error)))

    def ask(request_id: str, prompt: bytes, count: int, **options: Any) -> list[Any]:
        client.async_stream_infer(
            "text-model", [tensor("prompt", prompt)], request_id=request_id, **options
        )
        got: list[Any] = []
        for _ in range(count):
            result, error = replies.get(timeout=20)
            if error is not None:
                got.append(str(error))
                continue
            reply = result.get_response()
            assert reply.id == request_id
            word = result.as_numpy("output")
            final = reply.parameters["triton_final_response"].bool_param
            got.append([None if word is None else word[0].decode(), final])
        return got

    fast = {"parameters": {"delay": 0.0}}
    found["plain"] = ask("1", b"a b", 2, **fast)
    found["with empty final"] = ask("2", b"c d", 2, enable_empty_final_response=True, **fast)
    found["refused"] = ask("3", b"x", 1, parameters={"delay": -1})
    found["after"] = ask("4", b"still here", 2, **fast)
    client.stop_stream()
    print(json.dumps(found))


main(sys.argv[1])
