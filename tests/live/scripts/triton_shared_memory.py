"""Triton's clients with shared memory, as its own examples use them. Prints what it saw as JSON.

triton_shared_memory.py http|grpc ADDRESS [stream]
"""

import json
import os
import queue
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

wire, address, *rest = sys.argv[1:]
streams = bool(rest)
triton: Any = {"http": over_http, "grpc": over_grpc}[wire]
client = triton.InferenceServerClient(address)
seen: dict[str, Any] = {}

handle = b"aGVsbG8=" if wire == "http" else b"\xff\xfe"
tag = f"{wire}{len(rest)}-{os.getpid()}"
numbers = np.arange(3 * 640 * 640, dtype=np.float32).reshape(1, 3, 640, 640)
texts = np.array([b"one", "zw\u00f6lf".encode(), b""], np.object_)
packed = serialize_byte_tensor(texts)
size = numbers.nbytes + 64

ins = shm.create_shared_memory_region(f"in-{tag}", f"/in-{tag}", size)
outs = shm.create_shared_memory_region(f"out-{tag}", f"/out-{tag}", size)
shm.set_shared_memory_region(ins, [numbers])
shm.set_shared_memory_region(ins, [packed], offset=numbers.nbytes)


def infer(inputs: list[Any], outputs: list[Any]) -> Any:
    if not streams:
        return client.infer("echo", inputs, outputs=outputs, request_id="1")
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put(error or result))
    client.async_stream_infer("echo", inputs, outputs=outputs, request_id="1")
    found = answers.get(timeout=60)
    client.stop_stream()
    if isinstance(found, Exception):
        raise found
    return found


def tensor(name: str, shape: list[int], kind: str, region: str, *where: int) -> Any:
    found = triton.InferInput(name, shape, kind)
    found.set_shared_memory(region, *where)
    return found


def wanted(name: str, region: str, *where: int) -> Any:
    found = triton.InferRequestedOutput(name)
    found.set_shared_memory(region, *where)
    return found


def said(result: Any, name: str) -> dict[str, Any]:
    output = result.get_output(name)
    if isinstance(output, dict):
        return {"shape": output["shape"], "data": "data" in output, **output["parameters"]}
    parameters = {
        key: getattr(value, value.WhichOneof("parameter_choice"))
        for key, value in output.parameters.items()
    }
    return {"shape": list(output.shape), "data": output.HasField("contents"), **parameters}


def refused(call: Any, *arguments: Any, **named: Any) -> list[str]:
    try:
        call(*arguments, **named)
    except InferenceServerException as error:
        return [str(error.status()), error.message()]
    return []


def status(name: str = "") -> Any:
    if wire == "http":
        return client.get_system_shared_memory_status(name)
    found = client.get_system_shared_memory_status(name, as_json=True).get("regions", {})
    return list(found.values())


client.unregister_system_shared_memory()
client.unregister_cuda_shared_memory()
client.register_system_shared_memory(f"in-{tag}", f"/in-{tag}", size)
client.register_system_shared_memory(f"out-{tag}", f"/out-{tag}", size - 32, offset=32)
seen["status"] = sorted([r["name"].split("-")[0], int(r["byte_size"])] for r in status())
(one,) = status(f"out-{tag}")
seen["one"] = [one["key"] == f"/out-{tag}", int(one["offset"]), int(one["byte_size"]) == size - 32]
seen["cuda status"] = client.get_cuda_shared_memory_status()
if wire == "grpc":
    seen["cuda status"] = list(seen["cuda status"].regions)
seen["cuda"] = refused(client.register_cuda_shared_memory, "c", handle, 0, 64)
seen["twice"] = refused(client.register_system_shared_memory, f"in-{tag}", f"/out-{tag}", size)

shape = list(numbers.shape)
big = tensor("x", shape, "FP32", f"in-{tag}", numbers.nbytes)
result = infer([big], [wanted("y", f"out-{tag}", numbers.nbytes)])
found = said(result, "y")
seen["numbers"] = [
    found["shape"] == shape,
    found["data"],
    found["shared_memory_region"] == f"out-{tag}",
    int(found["shared_memory_byte_size"]) == numbers.nbytes,
    bool(np.array_equal(shm.get_contents_as_numpy(outs, np.float32, shape, 32), numbers)),
]

words = tensor("words", [3], "BYTES", f"in-{tag}", len(packed.item()), numbers.nbytes)
infer([words], [wanted("words", f"out-{tag}", 64)])
seen["texts"] = shm.get_contents_as_numpy(outs, np.object_, [3], 32).tolist() == texts.tolist()

# In a region and out of the wire, and the other way round; both in one request.
few = np.arange(4, dtype=np.float32)
plain = triton.InferInput("x", [4], "FP32")
plain.set_data_from_numpy(few)
result = infer([plain], [wanted("y", f"out-{tag}", 16, 64)])
seen["out"] = [
    shm.get_contents_as_numpy(outs, np.float32, [4], 96).tolist(),
    int(said(result, "y")["shared_memory_offset"]),
]
result = infer([words], [triton.InferRequestedOutput("words")])
seen["in"] = result.as_numpy("words").tolist() == texts.tolist()
result = infer(
    [words, plain], [wanted("words", f"out-{tag}", 64), triton.InferRequestedOutput("y")]
)
seen["both"] = result.as_numpy("y").tolist()

seen["too small"] = refused(infer, [plain], [wanted("y", f"out-{tag}", 15)])
seen["past the end"] = refused(infer, [tensor("x", [4], "FP32", f"in-{tag}", 16, size - 8)], [])
seen["wrong size"] = refused(infer, [tensor("x", [4], "FP32", f"in-{tag}", 12)], [])
seen["unknown"] = refused(infer, [tensor("x", [4], "FP32", "nope", 16)], [])
seen["still"] = infer([plain], []).as_numpy("y").tolist()

client.unregister_system_shared_memory(f"in-{tag}")
seen["left"] = [each["name"].split("-")[0] for each in status()]
seen["unregistered"] = refused(infer, [words], [])[0]
client.unregister_system_shared_memory()
shm.destroy_shared_memory_region(ins)
shm.destroy_shared_memory_region(outs)
seen = json.loads(json.dumps(seen).replace(tag, "TAG"))
print(json.dumps(seen))
