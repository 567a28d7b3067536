"""A folder of somebody's own: models found, broken ones told, each with modules of its own."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc import model_repository_pb2

from clients.server_process import ServiceError
from tests.live.service import Service
from tests.live.warm import WarmService

TEXT = """
from mlserver import MLModel
from mlserver.types import InferenceResponse, ResponseOutput

import helper


class Model(MLModel):
    async def load(self):
        {load}
        return True

    async def predict_stream(self, payloads):
        async for _ in payloads:
            import late

            word = ResponseOutput(
                name="word", shape=[1], datatype="BYTES", data=[helper.WORD + late.WORD]
            )
            yield InferenceResponse(model_name=self.name, outputs=[word])
"""
GOOD = ("clients/a", "serving", "audio", "vision/b", "models/c")
MISSING = "open('/srv/my models/weights.bin')"
# Folders of broken models: the model's code, its implementation, and what is told of it.
BROKEN = {
    "nowhere": (
        TEXT,
        "no_such_module.Model",
        "ModuleNotFoundError: No module named 'no_such_module'",
    ),
    "unnamed": (TEXT, "model.Nobody", "AttributeError: module 'model' has no 'Nobody'"),
    "syntax": ("class Model(:", "model.Model", "model.py, line 1: SyntaxError: invalid syntax"),
    "raises": (
        TEXT.replace("{load}", MISSING),
        "model.Model",
        "model.py, line 10: FileNotFoundError: [Errno 2] No such file or directory: 'weights.bin'",
    ),
    "exits": (TEXT.replace("{load}", "raise SystemExit(0)"), "model.Model", "SystemExit: 0"),
    "unread": (TEXT, "", "it is not JSON: line 1, column 2: "),
}


def put(folder: Path, word: str, text: str = TEXT, implementation: str = "model.Model") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "model-settings.json"
    settings.write_text(json.dumps({"implementation": implementation}) if implementation else "{")
    (folder / "model.py").write_text(text.replace("{load}", "pass"))
    (folder / "helper.py").write_text(f"WORD = '{word} '")
    (folder / "late.py").write_text(f"WORD = 'late {word}'")
    return settings


def put_settings(folder: Path, **streaming: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    door = "mlserver_streaming.repository.ModelSettingsRepository"
    settings = {"debug": False, "model_repository_implementation": door, "streaming": streaming}
    (folder / "settings.json").write_text(json.dumps(settings))


@pytest.fixture(scope="module", params=["0", "2"], ids=["own-process", "workers"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    place = tmp_path_factory.mktemp("place")
    root = place / "mine"
    put_settings(root, on_load_error="serve_rest")
    for folder in GOOD:
        put(root / folder, folder)
    for name, (text, implementation, _) in BROKEN.items():
        put(root / name, name, text, implementation)
    # Found through the served root, by a name that this project has too.
    (root / "runtimes").mkdir()
    (root / "runtimes" / "__init__.py").touch()
    of_root = TEXT.replace("helper", "late").replace("{load}", "pass")
    (root / "runtimes" / "own.py").write_text(of_root)
    (root / "late.py").write_text("WORD = 'root '")
    settings = put(root / "models" / "of-root", "unused", "", "runtimes.own.Model")
    for file in settings.parent.glob("*.py"):
        file.unlink()
    put(root / ".venv" / "hidden", "hidden")
    workers = {"MLSERVER_PARALLEL_WORKERS": request.param}
    with WarmService(place, place / "log", served="mine", **workers) as running:
        yield running


def ask(service: Service, name: str) -> httpx.Response:
    tensor = {"name": "x", "datatype": "INT32", "shape": [1], "data": [1]}
    return httpx.post(f"{service.url}/v2/models/{name}/infer", json={"inputs": [tensor]})


def word(service: Service, name: str) -> str:
    answer = ask(service, name)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["outputs"][0]["data"][0])


def repository(service: Service, call: str) -> httpx.Response:
    return httpx.post(f"{service.url}/v2/repository/{call}", timeout=30)


def index(service: Service) -> dict[str, tuple[str, str]]:
    found = repository(service, "index").json()
    return {item["name"]: (item["state"], item["reason"]) for item in found}


def test_every_model_says_the_words_of_its_own_folder(served: Service) -> None:
    for folder in (*GOOD, *GOOD):
        name = folder.rpartition("/")[2]
        assert word(served, name) == f"{folder} late {folder}"
    assert word(served, "of-root") == "root root "


def test_the_log_names_the_models_once_and_each_failure_once(served: Service) -> None:
    log = served.log.read_text()
    [line] = [line for line in log.splitlines() if "Models found" in line]
    assert line.endswith(
        "Models found in the whole folder: "
        "audio, a, exits, c, of-root, nowhere, raises, serving, syntax, unnamed, b."
    )
    for name, (_, _, told) in BROKEN.items():
        of_it = [line for line in log.splitlines() if f"Model '{name}' " in line]
        assert len(of_it) == 1
        assert told.partition("'weights")[0] in of_it[0]
        assert f"{name}/model" in of_it[0]
    # The operator's log has the traceback, and the path as it is.
    assert "/srv/my models/weights.bin" in log
    assert "was passed over" not in log and "Task exception" not in log


def test_the_rest_is_served_and_what_is_broken_says_so(served: Service) -> None:
    assert httpx.get(f"{served.url}/v2/health/ready").status_code == 200
    known = index(served)
    assert {name for name, (state, _) in known.items() if state == "UNAVAILABLE"} == set(BROKEN)
    for name, (_, _, told) in BROKEN.items():
        reason = known[name][1]
        assert reason.startswith(f"{name}/model") and told in reason
        assert str(served.folder) not in reason and "/srv" not in reason
        ready = httpx.get(f"{served.url}/v2/models/{name}/ready")
        assert ready.status_code in (404, 503)
        if name != "unread":  # which has no name that is known for sure
            answer = ask(served, name)
            assert (answer.status_code, ready.status_code) == (503, 503)
            assert answer.json()["error"] == (
                f"Model '{name}' could not be loaded; POST /v2/repository/index has the reason."
            )


@pytest.mark.parametrize("name", BROKEN)
def test_who_loads_a_broken_model_is_told_why_and_the_log_has_the_traceback(
    name: str, served: Service
) -> None:
    before = served.log.read_text().count("Traceback")
    answer = repository(served, f"models/{name}/load")
    assert answer.status_code == (422 if name == "unread" else 500)
    said = answer.json()["error"]
    assert said.startswith(f"Model '{name}' ") and BROKEN[name][2] in said
    assert not any(part in said for part in ("Traceback", "\n", "/srv", str(served.folder)))
    tracebacks = served.log.read_text().count("Traceback (most recent call last)") - before
    assert tracebacks == (0 if name == "unread" else 1)


def test_grpc_says_the_same(served: Service) -> None:
    name, told = "raises", BROKEN["raises"][2]
    with grpc.insecure_channel(served.grpc_address) as channel:

        def call(service: str, method: str, request: Any, reply: Any) -> Any:
            return channel.unary_unary(
                f"/inference.{service}/{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=reply.FromString,
            )(request)

        ours = "GRPCInferenceService"
        found = call(
            ours, "RepositoryIndex", pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse
        )
        [item] = [each for each in found.models if each.name == name]
        assert item.state == "UNAVAILABLE"
        assert told in item.reason
        ready = call(ours, "ModelReady", pb.ModelReadyRequest(name=name), pb.ModelReadyResponse)
        assert not ready.ready
        request = pb.ModelInferRequest(model_name=name)
        with pytest.raises(grpc.RpcError) as refused:
            call(ours, "ModelInfer", request, pb.ModelInferResponse)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        for service, stubs in (
            (ours, pb),
            ("model_repository.ModelRepositoryService", model_repository_pb2),
        ):
            load = stubs.RepositoryModelLoadRequest(model_name=name)
            with pytest.raises(grpc.RpcError) as failed:
                call(service, "RepositoryModelLoad", load, stubs.RepositoryModelLoadResponse)
            assert failed.value.code() == grpc.StatusCode.INTERNAL
            assert told in failed.value.details()
            assert "/srv" not in failed.value.details()


def test_models_come_change_and_go_while_it_runs(served: Service) -> None:
    folder = served.folder / "mine" / "new"
    put(folder, "first")
    assert index(served)["new"] == ("UNAVAILABLE", "")
    assert ask(served, "new").status_code == 404
    assert repository(served, "models/new/load").status_code == 200
    assert word(served, "new") == "first late first"
    put(folder, "other", "import helper\n" + TEXT)
    (folder / "model.py").write_text("raise RuntimeError")
    # What was there before stays while the new one cannot be loaded.
    assert repository(served, "models/new/load").status_code == 500
    assert index(served)["new"][0] == "READY"
    assert word(served, "new").startswith("first ")
    put(folder, "other")
    assert repository(served, "models/new/load").status_code == 200
    assert word(served, "new") == "other late other"
    assert repository(served, "models/new/unload").status_code == 200
    assert ask(served, "new").status_code == 404
    shutil.rmtree(folder)
    assert "new" not in index(served)
    assert repository(served, "models/new/load").status_code == 404


def test_a_broken_model_that_is_mended_is_served(served: Service) -> None:
    put(served.folder / "mine" / "mended", "mended", "class Model(:")
    assert repository(served, "models/mended/load").status_code == 500
    assert ask(served, "mended").status_code == 503
    put(served.folder / "mine" / "mended", "mended")
    assert repository(served, "models/mended/load").status_code == 200
    assert word(served, "mended") == "mended late mended"
    assert index(served)["mended"] == ("READY", "")
    assert repository(served, "models/mended/unload").status_code == 200
    shutil.rmtree(served.folder / "mine" / "mended")


@pytest.mark.parametrize("name", ["raises", "unread"])
def test_a_model_that_cannot_be_loaded_ends_the_start_with_one_line(
    name: str, tmp_path: Path
) -> None:
    text, implementation, told = BROKEN[name]
    put_settings(tmp_path)
    put(tmp_path / "model-settings" / "good", "good")
    put(tmp_path / "model-settings" / name, name, text, implementation)
    service = Service(tmp_path, tmp_path / "log", MLSERVER_PARALLEL_WORKERS="0")
    with pytest.raises(ServiceError, match="with status 1"):
        service.start()
    *before, last = service.log.read_text().splitlines()
    assert last.startswith(f"Model '{name}' ") and f"model-settings/{name}/model" in last
    assert told.partition("'weights")[0] in last
    assert not any("Traceback" in line or f"Model '{name}'" in line for line in before)
