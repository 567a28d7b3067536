"""Models of any name, and the versions that metadata offers, can be asked for over every wire."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from mlserver.grpc import dataplane_pb2 as pb

from clients.http_model import HttpModel
from clients.server import Server
from mlserver_streaming.access.keys_file import digest
from mlserver_streaming.rpc.triton.messages import (
    ModelConfigResponse,
    ModelRequest,
    ModelStatisticsResponse,
)
from tests.live.conftest import MODELS, make_folder
from tests.live.grpc_calls import SERVICE, channel, infer, text_request
from tests.live.rest_calls import events, prompt
from tests.live.service import ROOT, Service
from tests.live.warm import WarmService

NAMES = ["org/my model", "100%", "a%2Fb", "what?", "#1", "größe/模型", "text/infer", "../health"]
VERSION = "text/v1.2.3"
KEYS = {"all": None, "one": ["org/my model"]}


def model_path(name: str, version: str | None = None) -> str:
    path = f"/v2/models/{quote(name, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose models have such names, each with a version as odd, and with keys."""
    folder = make_folder(
        tmp_path_factory.mktemp("names") / "service", streaming={"auth": {"keys_file": "keys.json"}}
    )
    shutil.rmtree(folder / "model-settings")
    for number, name in enumerate(NAMES):
        settings = {
            "name": name,
            "implementation": "text_model.TextModel",
            "parameters": {"version": VERSION},
        }
        path = folder / "model-settings" / str(number)
        shutil.copytree(MODELS / "stock-text", path)
        (path / "model-settings.json").write_text(json.dumps(settings))
    keys = [
        {"name": key, "sha256": digest(key).hex(), "roles": ["admin"], "models": models}
        if models
        else {"name": key, "sha256": digest(key).hex(), "roles": ["admin"]}
        for key, models in KEYS.items()
    ]
    (folder / "keys.json").write_text(json.dumps(keys))
    with WarmService(folder, folder / "server.log") as running:
        yield running


def client(service: Service, key: str = "all") -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=service.url, headers={"X-API-Key": key})


@pytest.mark.parametrize("name", NAMES)
async def test_every_route_of_a_model_takes_its_name_encoded(named: Service, name: str) -> None:
    async with client(named) as http:
        for path in (model_path(name), model_path(name, VERSION)):
            metadata = await http.get(path)
            assert (metadata.json()["name"], metadata.json()["versions"]) == (name, [VERSION])
            assert (await http.get(f"{path}/ready")).status_code == 200
            document = (await http.get(f"{path}/docs/dataplane.json")).json()
            assert f"{path}/infer_stream" in document["paths"]
            assert (await http.get(f"{path}/docs")).status_code == 200
            for call in ("infer", "generate"):
                answer = (await http.post(f"{path}/{call}", json=prompt("a b"))).json()
                assert answer["model_name"] == name
            for call in ("infer_stream", "generate_stream"):
                answer = await http.post(f"{path}/{call}", json=prompt("a b"))
                assert [event["model_name"] for event in events(answer.text)] == [name] * 2
        repository = f"/v2/repository/models/{quote(name, safe='')}"
        assert (await http.post(f"{repository}/unload")).status_code == 200
        assert (await http.get(f"{model_path(name)}/ready")).status_code == 404
        assert (await http.post(f"{repository}/load")).status_code == 200
        assert (await http.get(f"{model_path(name)}/ready")).status_code == 200


async def test_an_encoded_slash_is_never_one_between_segments(named: Service) -> None:
    async with client(named) as http:
        for path in (
            "/v2/health%2Flive",
            "/v2%2Fhealth/ready",
            "/v2/models%2F100%25",
            "/v2/models/what%3F%2Fready",
            "/v2/models/100%2525",
            "/v2/models/org/my%20model/ready",
        ):
            assert (await http.get(path)).status_code == 404
    async with httpx.AsyncClient(base_url=named.url) as nobody:
        assert (await nobody.get("/v2/health/live")).status_code == 200
        assert (await nobody.get("/v2/health%2Flive")).status_code == 401


async def test_a_key_for_one_model_opens_that_one_by_its_decoded_name(named: Service) -> None:
    async with client(named, "one") as http:
        assert (await http.get("/v2/models/org%2Fmy%20model")).status_code == 200
        assert (await http.get("/v2/models/org%2fmy%20m%6Fdel/ready")).status_code == 200
        for path in (
            "/v2/models/100%25",
            "/v2/models/org%252Fmy%20model",
            "/v2/models/org",
        ):
            raw = httpx.URL(named.url).copy_with(raw_path=path.encode())
            assert (await http.get(raw)).status_code == 403
        unload = "/v2/repository/models/100%25/unload"
        assert (await http.post(unload)).status_code == 403


async def test_the_client_encodes_a_name(named: Service) -> None:
    async with httpx.AsyncClient() as http:
        url = (
            HttpModel(Server("127.0.0.1", httpx.URL(named.url).port or 0), "größe/模型", 5)._base
            + "/ready"
        )
        answer = await http.get(url, headers={"X-API-Key": "all"})
        assert answer.status_code == 200


async def test_every_version_that_is_offered_can_be_asked_for(service: Service) -> None:
    """Over all models of this repository, and those of the tests."""
    own = {path.name for path in (ROOT / "model-settings").iterdir()}
    async with httpx.AsyncClient(base_url=service.url) as http:
        index = (await http.post("/v2/repository/index")).json()
        ready = {each["name"]: each for each in index if each["state"] == "READY"}
        # Where it has no file; and the one that tests/live/test_language.py serves.
        assert own - ready.keys() <= {"detector", "language"}
        offered: dict[str, list[str]] = {}
        for name, each in ready.items():
            said = (await http.get(model_path(name))).json()
            offered[name] = said["versions"] + ([each["version"]] if "version" in each else [])
            for version in offered[name]:
                path = model_path(name, version)
                assert (await http.get(path)).status_code == 200
                assert (await http.get(f"{path}/ready")).status_code == 200
        assert offered["text-model"] == ["text-model/v1.2.3"]
        answer = await http.post(
            model_path("text-model", "text-model/v1.2.3") + "/infer_stream", json=prompt("a b")
        )
        assert len(events(answer.text)) == 2
    for address in (service.grpc_address, service.triton_address):
        for name in ready:
            for version in await versions_over(address, name):
                said = await call(address, "ModelReady", name, version, pb.ModelReadyResponse)
                assert said.ready
        request = text_request("a")
        request.model_version = "text-model/v1.2.3"
        assert (await infer(address, request)).outputs
    statistics = await call(service.triton_address, "ModelStatistics", "", "", STATISTICS)
    for found in statistics.model_stats:
        asked = (found.name, found.version)
        for method, kind in (("ModelStatistics", STATISTICS), ("ModelConfig", CONFIG)):
            assert await call(service.triton_address, method, *asked, kind)


STATISTICS: Any = ModelStatisticsResponse
CONFIG: Any = ModelConfigResponse


async def versions_over(address: str, name: str) -> list[str]:
    found = await call(address, "ModelMetadata", name, "", pb.ModelMetadataResponse)
    return list(found.versions)


async def call(address: str, method: str, name: str, version: str, kind: Any) -> Any:
    """A unary call that names a model and a version, which all write alike."""
    async with channel(address) as connection:
        send = connection.unary_unary(SERVICE + method)
        asked = ModelRequest(name=name, version=version).SerializeToString()
        return kind.FromString(await send(asked))
