"""language-model behind a real service: both wires, streams that wait, hang-ups, what it opens."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from tests.live.conftest import WORKERS, make_folder
from tests.live.service import Service
from tests.live.warm import WarmService
from tests.runtimes.language_fakes import needs_language

pytestmark = needs_language
# A bound for what would hang otherwise, not a timing.
PATIENCE = 60
QUESTION = "What is the capital of France?"
SLOTS, WAITING = 2, 1
one_process = pytest.mark.skipif(WORKERS > 0, reason="each worker has slots and threads of its own")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = make_folder(tmp_path_factory.mktemp("language"), language=True)
    for model in (folder / "model-settings").iterdir():
        if model.name != "language":
            shutil.rmtree(model)
    settings = folder / "model-settings" / "language" / "model-settings.json"
    whole = json.loads(settings.read_text())
    few = {"slots": SLOTS, "max_waiting": WAITING, "context": 512, "temperature": 0}
    whole["parameters"]["extra"] |= few
    settings.write_text(json.dumps(whole))
    with WarmService(folder, folder / "server.log") as running:
        yield running


def url(service: Service, call: str) -> str:
    return f"{service.url}/v2/models/language-model/{call}"


def events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def tale(service: Service) -> Any:
    """An answer that is still being written when it is looked at."""
    body = {"prompt": "Once upon a time", "parameters": {"max_tokens": 400}}
    return httpx.stream("POST", url(service, "generate_stream"), json=body, timeout=PATIENCE)


def test_an_answer_in_pieces_and_whole(served: Service) -> None:
    body = {"text_input": QUESTION}
    with httpx.stream(
        "POST", url(served, "generate_stream"), json=body, timeout=PATIENCE
    ) as response:
        *pieces, last = events(response)
    assert "".join(each["text_output"] for each in pieces) == "The capital of France is Paris."
    assert len(pieces) == 7
    assert (last["finish_reason"], last["completion_tokens"]) == ("stop", 8)
    whole = httpx.post(url(served, "generate"), json=body, timeout=PATIENCE).json()
    assert whole["text_output"] == "The capital of France is Paris."
    assert (whole["finish_reason"], whole["completion_tokens"]) == ("stop", 8)


def test_messages_over_grpc(served: Service) -> None:
    request = pb.ModelInferRequest(model_name="language-model", id="7")
    tensor = request.inputs.add(name="messages", datatype="BYTES", shape=[1])
    messages = [{"role": "user", "content": QUESTION}]
    tensor.contents.bytes_contents.append(json.dumps(messages).encode())
    request.parameters["stop"].string_param = '["Paris"]'
    request.parameters["max_tokens"].int64_param = 50
    with grpc.insecure_channel(served.grpc_address) as channel:
        call = GRPCInferenceServiceStub(channel).ModelStreamInfer
        found = list(call(iter([request]), timeout=PATIENCE))
    text = b"".join(each.outputs[0].contents.bytes_contents[0] for each in found)
    assert text.decode().strip() == "The capital of France is"
    assert found[-1].parameters["finish_reason"].string_param == "stop"
    assert {each.id for each in found} == {"7"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"messages": "[]"}, "empty list"),
        ({"text_input": "x", "prompt": "x"}, "Send one of"),
        ({"text_input": "x", "parameters": {"n": 1000}}, "'n' must be a whole number from 1 to 2"),
        ({"text_input": "x", "parameters": {"temperature": -1}}, "'temperature' must be a number"),
        ({"text_input": "word " * 1000}, r"has 10\d\d tokens; the model takes 512 tokens"),
        (
            {
                "text_input": "x",
                "parameters": {
                    "response_format": {
                        "type": "json_schema",
                        "json_schema": {"schema": {"$ref": "#/x"}},
                    }
                },
            },
            "The JSON schema is wrong",
        ),
    ],
)
def test_bad_input_is_a_400_and_one_sentence(served: Service, body: Any, says: str) -> None:
    for call in ("generate", "generate_stream"):
        response = httpx.post(url(served, call), json=body, timeout=PATIENCE)
        assert response.status_code == 400
        assert list(response.json()) == ["error"]
        assert re.search(says, response.json()["error"])


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("path", "body", "param", "code"),
    [
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": "word " * 1000}]},
            "messages",
            "context_length_exceeded",
        ),
        ("completions", {"prompt": "word " * 1000}, "prompt", "context_length_exceeded"),
        ("responses", {"input": "word " * 1000}, "input", "context_length_exceeded"),
        ("completions", {"prompt": "a", "n": 100}, "n", None),
    ],
)
def test_openai_s_clients_are_told_what_is_wrong(
    served: Service, path: str, body: Any, param: str, code: str | None, stream: bool
) -> None:
    whole = {"model": "language-model", "stream": stream, **body}
    response = httpx.post(f"{served.url}/v1/{path}", json=whole, timeout=PATIENCE)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["param"], error["code"]) == (param, code)


@one_process
def test_streams_wait_and_are_refused_and_hang_ups_let_them_in(served: Service) -> None:
    body = {"text_input": QUESTION}
    with ExitStack() as running, ThreadPoolExecutor(2) as pool:
        # httpx hangs up where the events are let go.
        being_read = [events(running.enter_context(tale(served))) for _ in range(SLOTS)]
        for each in being_read:
            next(each)
        # One of the two may wait.
        asked = [
            pool.submit(httpx.post, url(served, "generate"), json=body, timeout=PATIENCE)
            for _ in range(WAITING + 1)
        ]
        done, waiting = wait(asked, PATIENCE, FIRST_COMPLETED)
        (refused,), (waited,) = done, waiting
        assert refused.result().status_code == 429
        assert "try again later" in refused.result().json()["error"]
        assert int(refused.result().headers["retry-after"]) > 0
        running.close()  # hangs up
        assert waited.result(PATIENCE).json()["text_output"].endswith("Paris.")


def listening(pid: int) -> int:
    """On how many addresses of TCP a process listens."""
    held = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.exists()}
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
    ]
    return sum(line[3] == "0A" and f"socket:[{line[9]}]" in held for line in lines)


@one_process
def test_it_opens_no_port_of_its_own_and_gives_its_threads_back(served: Service) -> None:
    pid = served.process.pid
    ports = listening(pid)
    assert httpx.get(f"{served.url}/v2/health/live").status_code == 200

    def threads() -> int:
        return len(os.listdir(f"/proc/{pid}/task"))

    def resident() -> int:
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])  # type: ignore[index]

    busy, full = threads(), resident()
    models = f"{served.url}/v2/repository/models/language-model"
    assert httpx.post(f"{models}/unload", timeout=PATIENCE).status_code == 200
    assert listening(pid) == ports == 4
    assert threads() <= busy - SLOTS
    assert resident() < full - 80_000  # kB; its weights alone are 98 MB
    assert httpx.post(f"{models}/load", timeout=PATIENCE).status_code == 200
    test_an_answer_in_pieces_and_whole(served)
