"""Two callers of one service: over every wire, neither meets the other's sequences."""

from __future__ import annotations

import re
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from mlserver.grpc import dataplane_pb2 as pb

from tests.access.issuer import AUDIENCE, ISSUER, token
from tests.audio.sounds import pcm, silence
from tests.live.conftest import make_folder
from tests.live.figures import figure
from tests.live.grpc_calls import error_of, infer, raw_request, stream, triton_stream
from tests.live.keyed import add_key, issuer_url
from tests.live.rest_calls import events, path, probe
from tests.live.service import Service
from tests.live.warm import WarmService

MODELS = Path(__file__).with_name("sequence_models")
# Their subjects begin with the same hundred characters and more.
ALIKE = "a" * 200
KINDS: dict[str, dict[str, Any]] = {
    "one process": {},
    "two workers": {"parallel_workers": 2},
    "cache": {"environment": {"MLSERVER_MODEL_CACHE_ENABLED": "true"}},
}
# The services that load models too; Triton's port has the first only.
INFERENCE = "inference.GRPCInferenceService"
REPOSITORY = "inference.model_repository.ModelRepositoryService"
SOUND: list[int] = pcm(silence(0.1)).tolist()
START, END = {"sequence_start": True}, {"sequence_end": True}
PATIENCE = 60


@dataclass(frozen=True)
class Callers:
    """A running service, and the headers of its callers."""

    service: Service
    headers: dict[str, dict[str, str]]


@pytest.fixture(scope="module", params=KINDS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callers]:
    settings = dict(KINDS[request.param])
    environment = settings.pop("environment", {})
    folder = tmp_path_factory.mktemp("callers") / "service"
    with issuer_url() as url:
        auth = {
            "keys_file": "keys.json",
            "jwt": {"issuer": ISSUER, "audience": AUDIENCE, "jwks": url},
        }
        make_folder(folder, streaming={"auth": auth}, **settings)
        for model in (folder / "model-settings").iterdir():
            if model.name != "speech-model":
                shutil.rmtree(model)
        shutil.copytree(MODELS, folder / "model-settings", dirs_exist_ok=True)
        keys = folder / "keys.json"
        headers = {
            **{name: {"x-api-key": add_key(keys, name, "--role", "infer")} for name in "ab"},
            "token a": {"authorization": f"Bearer {token(sub=ALIKE + 'a')}"},
            "token b": {"authorization": f"Bearer {token(sub=ALIKE + 'b')}"},
            "boss": {"x-api-key": add_key(keys, "boss", "--role", "admin")},
        }
        log = folder / "server.log"
        with WarmService(folder, log, NO_PROXY="127.0.0.1", **environment) as service:
            yield Callers(service, headers)


Answer = tuple[int, Any]
"""A status and what was said: a count and the sequence's id, or an error's text."""
Ask = Callable[[Callers, str, str, Any, dict[str, bool]], Awaitable[Answer]]


async def over_rest(
    callers: Callers, who: str, model: str, id: Any, flags: dict[str, bool]
) -> Answer:
    return await _posted(callers, who, path(model, "infer"), id, flags)


async def over_events(
    callers: Callers, who: str, model: str, id: Any, flags: dict[str, bool]
) -> Answer:
    return await _posted(callers, who, path(model, "infer_stream"), id, flags)


async def _posted(callers: Callers, who: str, url: str, id: Any, flags: dict[str, bool]) -> Answer:
    async with httpx.AsyncClient(base_url=callers.service.url, timeout=PATIENCE) as client:
        body = probe(sequence_id=id, **flags)
        answer = await client.post(url, json=body, headers=callers.headers[who])
    if not answer.is_success:
        return answer.status_code, answer.json()["error"]
    found = events(answer.text)[0] if "event-stream" in answer.headers["content-type"] else None
    found = found or answer.json()
    return 200, (found["outputs"][0]["data"][0], found["parameters"]["sequence_id"])


async def over_grpc(
    callers: Callers, who: str, model: str, id: Any, flags: dict[str, bool]
) -> Answer:
    metadata = tuple(callers.headers[who].items())
    request = raw_request(model, "x", [b"x"], sequence_id=id, **flags)
    try:
        reply = await infer(callers.service.grpc_address, request, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        return 400, error.details()
    return 200, _count(reply)


async def over_grpc_stream(
    callers: Callers, who: str, model: str, id: Any, flags: dict[str, bool]
) -> Answer:
    metadata = tuple(callers.headers[who].items())
    # The second is refused whatever comes of the first, which so is an answer and no status.
    requests = [
        raw_request(model, "x", [b"x"], "first", sequence_id=id, **flags),
        raw_request(model, "x", [b"x"], "second", sequence_id="not a sequence", sequence_start=7),
    ]
    address = callers.service.grpc_address
    replies = await stream(address, requests, metadata=metadata)
    [reply] = [each for each in replies if each.id == "first"]
    return error_of(reply) or (200, _count(reply))


async def over_triton(
    callers: Callers, who: str, model: str, id: Any, flags: dict[str, bool]
) -> Answer:
    metadata = tuple(callers.headers[who].items())
    request = raw_request(model, "x", [b"x"], sequence_id=id, **flags)
    address = callers.service.triton_address
    error, reply = (await triton_stream(address, [request], metadata=metadata))[0]
    return (400, error) if error else (200, _count(reply))


def _count(reply: pb.ModelInferResponse) -> tuple[int, Any]:
    id = reply.parameters["sequence_id"]
    found = getattr(id, id.WhichOneof("parameter_choice"))
    return int.from_bytes(reply.raw_output_contents[0], "little"), found


WIRES = [over_rest, over_events, over_grpc, over_grpc_stream, over_triton]
PAIRS = [("a", "b"), ("token a", "token b")]


@pytest.mark.parametrize("ask", WIRES)
@pytest.mark.parametrize(("one", "other"), PAIRS)
async def test_another_caller_cannot_go_on_with_end_or_learn_of_a_sequence(
    served: Callers, ask: Ask, one: str, other: str
) -> None:
    id = 7

    async def says(who: str, **flags: bool) -> Answer:
        return await ask(served, who, "own-tally", id, flags)

    assert await says(one, **START) == (200, (1, id))
    for flags in ({}, END):
        status, text = await says(other, **flags)
        assert status == 400
        assert text == (
            f"inference request for sequence {id} to model 'own-tally' must specify the START flag "
            "on the first request of the sequence"
        )
    assert await says(other, **START) == (200, (1, id))
    assert figure(served.service, "sequences_active", model_name="own-tally") == 2
    assert await says(one) == (200, (2, id))
    assert await says(other, **END) == (200, (2, id))
    assert await says(one, **END) == (200, (3, id))
    assert figure(served.service, "sequences_active", model_name="own-tally") == 0


@pytest.mark.parametrize("ask", WIRES)
async def test_a_stock_model_counts_each_caller_s_own(served: Callers, ask: Ask) -> None:
    # The second request of a gRPC stream is answered too, and is of another sequence.
    id = f"of {ask.__name__}"
    counts = [
        await ask(served, who, "stock-tally", id, START if number < 2 else {})
        for number, who in enumerate(("a", "b", "a", "b", "b"))
    ]
    assert counts == [(200, (count, id)) for count in (1, 1, 2, 2, 3)]


async def test_a_sequence_goes_on_over_another_wire_for_its_own_caller_only(
    served: Callers,
) -> None:
    id = "wanders"
    assert (await over_rest(served, "a", "own-tally", id, START))[0] == 200
    for ask in (over_grpc, over_triton, over_events, over_grpc_stream):
        assert (await ask(served, "b", "own-tally", id, {}))[0] == 400
        assert (await ask(served, "a", "own-tally", id, {}))[0] == 200
    assert await over_rest(served, "a", "own-tally", id, END) == (200, (6, id))


def samples(seconds: float) -> list[int]:
    found: list[int] = pcm(silence(seconds)).tolist()
    return found


async def test_a_recording_under_way_is_its_speaker_s_alone(served: Callers) -> None:
    async with httpx.AsyncClient(base_url=served.service.url, timeout=PATIENCE) as client:

        async def hears(who: str, call: str, **flags: Any) -> httpx.Response:
            tensor = {"name": "audio", "datatype": "INT16", "shape": [len(SOUND)], "data": SOUND}
            parameters = {"sample_rate": 16_000, "sequence_id": 7, **flags}
            body = {"inputs": [tensor], "parameters": parameters}
            headers = served.headers[who]
            return await client.post(path("speech-model", call), json=body, headers=headers)

        assert (await hears("a", "infer_stream", **START)).status_code == 200
        for flags in ({}, END):
            refused = await hears("b", "infer_stream", **flags)
            assert refused.status_code == 400
            assert "sequence 7 to model 'speech-model' must specify" in refused.json()["error"]
        assert (await hears("b", "infer_stream", **START)).status_code == 200
        for who in ("a", "b"):
            for flags in ({}, END):
                answer = await hears(who, "infer", **flags)
                assert answer.json()["parameters"]["sequence_id"] == 7
    assert figure(served.service, "sequences_active", model_name="speech-model") == 0


async def test_the_log_says_who_moved_a_model(served: Callers) -> None:
    """Last: the model is loaded again."""
    service = served.service
    calls = (("a", "load"), ("boss", "unload"), ("boss", "load"), ("token b", "unload"))
    async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE) as client:
        for who, call in calls:
            where = f"/v2/repository/models/stock-tally/{call}"
            await client.post(where, headers=served.headers[who])
    message = pb.RepositoryModelLoadRequest(model_name="stock-tally").SerializeToString()
    over_rpc = (
        (service.grpc_address, INFERENCE),
        (service.grpc_address, REPOSITORY),
        (service.triton_address, INFERENCE),
    )
    for address, name in over_rpc:
        async with grpc.aio.insecure_channel(address) as channel:
            method = channel.unary_unary(f"/{name}/RepositoryModelLoad")
            for who in ("boss", "a"):
                with suppress(grpc.aio.AioRpcError):
                    await method(message, metadata=tuple(served.headers[who].items()))
    log = service.log.read_text()
    lines = re.findall(r"repository call: call=(\w+) model=stock-tally key=(\S+) result=(\w+)", log)
    assert lines == [
        ("load", "a", "403"),
        ("unload", "boss", "unloaded"),
        ("load", "boss", "loaded"),
        ("unload", f"jwt:{ALIKE[:100]}...", "403"),
        *[("load", "boss", "loaded"), ("load", "a", "403")] * len(over_rpc),
    ]
    # What is shown of a caller is shortened, and nothing else of it is shown.
    assert ALIKE[:101] not in log
