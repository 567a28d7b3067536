"""Every public method of Triton's clients, found by introspection, called against a service.

Prints JSON: for each client, what came of each call: "answered", or the error's text; and of each
method for which there is no call here, "untested".

Runs in a process of its own: tritonclient brings a second copy of the inference.* protobuf.
"""

import asyncio
import importlib
import inspect
import json
import queue
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException

GRPC, HTTP = "tritonclient.grpc", "tritonclient.http"
MODEL, LOADED = "text-model", "stock-text"
FAST = {"delay": 0}
KEY = "/mlserver_streaming_surface"


def prompt(module: Any, text: bytes = b"a b") -> list[Any]:
    made = module.InferInput("prompt", [1], "BYTES")
    made.set_data_from_numpy(np.array([text], dtype=object))
    return [made]


def numbers(module: Any) -> list[Any]:
    made = module.InferInput("x", [3], "FP32")
    made.set_data_from_numpy(np.array([1, 7, 3], np.float32))
    return [made]


def expect(found: Any, wanted: Any) -> None:
    assert found == wanted, f"{found!r} is not {wanted!r}"


def word(result: Any) -> bytes:
    return result.as_numpy("output")[0]


Calls = dict[str, Callable[[Any], Any]]
"""By the method's name, or that and what is special about the call: what is done with a client. It
may return an awaitable, or a list of things to do one after another."""


def of_all(module: Any, as_dict: dict[str, Any]) -> Calls:
    """Calls that all four clients have.

    Args:
        as_dict: what makes their answers dictionaries.
    """

    def classes(client: Any) -> Any:
        wanted = [module.InferRequestedOutput("stats", class_count=2)]
        return client.infer("tensor-sum", numbers(module), outputs=wanted)

    def scheduled(client: Any) -> Any:
        return client.infer(
            MODEL, prompt(module), priority=3, timeout=30_000_000, parameters=dict(FAST)
        )

    return {
        "is_server_live": lambda c: c.is_server_live(),
        "is_server_ready": lambda c: c.is_server_ready(),
        "is_model_ready": lambda c: c.is_model_ready(MODEL),
        "get_server_metadata": lambda c: c.get_server_metadata(),
        "get_model_metadata": lambda c: c.get_model_metadata(MODEL),
        "get_model_config": lambda c: c.get_model_config(MODEL, **as_dict),
        "get_model_config, of no model": lambda c: c.get_model_config("nope"),
        "get_inference_statistics": lambda c: c.get_inference_statistics(),
        "get_inference_statistics, of a model": lambda c: c.get_inference_statistics(MODEL, "1"),
        "get_inference_statistics, of no model": lambda c: c.get_inference_statistics("nope"),
        "infer": lambda c: c.infer(MODEL, prompt(module), parameters=dict(FAST)),
        "infer, `priority` and `timeout`": scheduled,
        "infer, `class_count`": classes,
        "get_model_repository_index": lambda c: c.get_model_repository_index(),
        "load_model": lambda c: c.load_model(LOADED),
        "load_model, `config`": lambda c: c.load_model(
            LOADED, config=json.dumps({"name": LOADED, "max_batch_size": 0})
        ),
        "load_model, another `backend`": lambda c: c.load_model(
            LOADED, config=json.dumps({"backend": "onnxruntime"})
        ),
        "load_model, `files`": lambda c: c.load_model(
            LOADED, config="{}", files={"file:1/model.onnx": b"\x08\x07"}
        ),
        "load_model, of no model": lambda c: c.load_model("nope"),
        "unload_model": lambda c: [lambda: c.unload_model(LOADED), lambda: c.load_model(LOADED)],
        "unload_model, `unload_dependents`": lambda c: [
            lambda: c.unload_model(LOADED, unload_dependents=True),
            lambda: c.load_model(LOADED),
        ],
        "get_log_settings": lambda c: c.get_log_settings(**as_dict),
        "update_log_settings": lambda c: c.update_log_settings(
            {"log_info": True, "log_verbose_level": 0}
        ),
        "update_log_settings, `log_file`": lambda c: c.update_log_settings({"log_file": "a.log"}),
        "update_log_settings, an unknown one": lambda c: c.update_log_settings({"log_all": True}),
        "get_trace_settings": lambda c: c.get_trace_settings(**as_dict),
        "get_trace_settings, of a model": lambda c: c.get_trace_settings(MODEL),
        "update_trace_settings": lambda c: c.update_trace_settings(
            settings={"trace_rate": "1", "trace_level": None}
        ),
        "update_trace_settings, where nothing is traced": lambda c: c.update_trace_settings(
            settings={"trace_level": ["TIMESTAMPS"]}
        ),
        "update_trace_settings, `trace_file`": lambda c: c.update_trace_settings(
            settings={"trace_file": "a.json"}
        ),
        "get_system_shared_memory_status": lambda c: c.get_system_shared_memory_status(),
        "register_system_shared_memory": lambda c: c.register_system_shared_memory("r", KEY, 64),
        "unregister_system_shared_memory": lambda c: c.unregister_system_shared_memory("r"),
        "get_cuda_shared_memory_status": lambda c: c.get_cuda_shared_memory_status(),
        "register_cuda_shared_memory": lambda c: c.register_cuda_shared_memory("r", b"aA==", 0, 64),
        "unregister_cuda_shared_memory": lambda c: c.unregister_cuda_shared_memory("r"),
        "register_plugin": registered,
        "unregister_plugin": lambda c: None,  # `register_plugin` does it
        "plugin": lambda c: expect(c.plugin(), None),
        "close": lambda c: c.close(),
    }


def registered(client: Any) -> None:
    """A plugin adds a header to each call."""
    base = importlib.import_module("tritonclient._plugin").InferenceServerClientPlugin

    class Plugin(base):  # type: ignore[misc]
        def __call__(self, request: Any) -> None:
            request.headers["x-request-id"] = "surface"

    made = Plugin()
    client.register_plugin(made)
    expect(client.plugin(), made)
    client.unregister_plugin()


def of_grpc(module: Any) -> Calls:
    def later(client: Any) -> None:
        replies: queue.Queue[Any] = queue.Queue()
        client.async_infer(
            MODEL,
            prompt(module),
            lambda result, error: replies.put((result, error)),
            parameters=dict(FAST),
        )
        result, error = replies.get(timeout=30)
        if error is not None:
            raise error
        expect(word(result), b"a")

    def stream(client: Any) -> None:
        replies: queue.Queue[Any] = queue.Queue()
        client.start_stream(lambda result, error: replies.put((result, error)))
        client.async_stream_infer(MODEL, prompt(module), parameters=dict(FAST))
        got = [replies.get(timeout=30) for _ in range(2)]
        client.stop_stream()
        for _, error in got:
            if error is not None:
                raise error
        expect([word(result) for result, _ in got], [b"a", b" b"])

    return {
        "async_infer": later,
        "start_stream": stream,
        "async_stream_infer": lambda c: None,  # `start_stream` does these
        "stop_stream": lambda c: None,
    }


def of_grpc_aio(module: Any) -> Calls:
    async def stream(client: Any) -> None:
        async def asked() -> Any:
            yield {"model_name": MODEL, "inputs": prompt(module), "parameters": dict(FAST)}

        got = []
        async for result, error in client.stream_infer(asked()):
            if error is not None:
                raise error
            got.append(word(result))
        expect(got, [b"a", b" b"])

    return {"stream_infer": stream}


def of_http(module: Any, address: str) -> Calls:
    def body(client: Any) -> None:
        sent, size = client.generate_request_body(prompt(module), parameters=dict(FAST))
        headers = {"Inference-Header-Content-Length": str(size)}
        url = f"http://{address}/v2/models/{MODEL}/infer"
        request = urllib.request.Request(url, bytes(sent), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            length = int(answer.headers["Inference-Header-Content-Length"])
            result = client.parse_response_body(answer.read(), header_length=length)
        expect(word(result), b"a")

    return {"generate_request_body": body, "parse_response_body": lambda c: None}


def of_http_only(module: Any) -> Calls:
    def later(client: Any) -> None:
        asked = client.async_infer(MODEL, prompt(module), parameters=dict(FAST))
        expect(word(asked.get_result()), b"a")

    return {"async_infer": later}


def methods(kind: Any) -> list[str]:
    found = inspect.getmembers(kind, callable)
    return [name for name, _ in found if not name.startswith("_")]


async def done(what: Any) -> None:
    if inspect.isawaitable(what):
        await what
    elif isinstance(what, list) and what and all(map(callable, what)):
        for each in what:
            await done(each())


async def outcomes(client: Any, calls: Calls) -> dict[str, str]:
    """What comes of each call that the client has a method for; `close` last."""
    known = methods(type(client))
    tested = {label.partition(",")[0] for label in calls}
    found = {name: "untested" for name in known if name not in tested}
    for label, call in sorted(calls.items(), key=lambda each: each[0] == "close"):
        if label.partition(",")[0] not in known:
            continue
        try:
            await done(call(client))
            found[label] = "answered"
        except (InferenceServerException, NotImplementedError) as error:
            found[label] = str(error)
        except Exception as error:
            found[label] = f"{type(error).__name__}: {error}"
    return found


async def main(triton: str, grpc: str, http: str) -> None:
    found = {}
    for port, address in (("triton", triton), ("grpc", grpc)):
        module = importlib.import_module(GRPC)
        calls = of_all(module, {"as_json": True}) | of_grpc(module)
        aio = importlib.import_module(f"{GRPC}.aio")
        calls_aio = of_all(module, {"as_json": True}) | of_grpc_aio(module)
        if port == "grpc":  # its streams are MLServer's
            for name in ("start_stream", "stream_infer"):
                calls[name] = calls_aio[name] = lambda c: None
        found[f"{port} {GRPC}"] = await outcomes(module.InferenceServerClient(address), calls)
        found[f"{port} {GRPC}.aio"] = await outcomes(aio.InferenceServerClient(address), calls_aio)
    module = importlib.import_module(HTTP)
    calls = of_all(module, {}) | of_http(module, http)
    only = of_http_only(module)
    found[HTTP] = await outcomes(module.InferenceServerClient(http), calls | only)
    aio = importlib.import_module(f"{HTTP}.aio")
    found[f"{HTTP}.aio"] = await outcomes(aio.InferenceServerClient(http), calls)
    print(json.dumps(found))


asyncio.run(main(*sys.argv[1:]))
