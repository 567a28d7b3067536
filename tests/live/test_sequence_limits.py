"""`limits.sequences` and `limits.sequence_idle_seconds` reach the models; a model's own win."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.live.conftest import make_folder
from tests.live.figures import figure, matching, scrape
from tests.live.rest_calls import path, prompt
from tests.live.service import Service
from tests.live.warm import WarmService
from tests.live.watch import wait_until


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One live sequence a model; two for `own-limits`, idle for 0.2 s at most."""
    folder = make_folder(
        tmp_path_factory.mktemp("sequences"), streaming={"limits": {"sequences": 1}}
    )
    models = folder / "model-settings"
    settings = json.loads((models / "text-model" / "model-settings.json").read_text())
    settings["name"] = "own-limits"
    settings["parameters"] = {
        "version": "7",
        "extra": {"max_sequences": 2, "sequence_idle_seconds": 0.2},
    }
    (models / "own-limits").mkdir()
    (models / "own-limits" / "model-settings.json").write_text(json.dumps(settings))
    with WarmService(folder, folder / "server.log") as running:
        yield running


def send(service: Service, model: str, sequence: int, **flags: Any) -> httpx.Response:
    body = prompt("a", sequence_id=sequence, **flags)
    return httpx.post(f"{service.url}{path(model, 'infer')}", json=body)


def test_one_more_than_may_live_is_refused(served: Service):
    assert send(served, "text-model", 1, sequence_start=True).status_code == 200
    assert figure(served, "sequences_active", model_name="text-model", model_version="") == 1
    refused = send(served, "text-model", 2, sequence_start=True)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert "1 live sequences" in refused.json()["error"]
    assert send(served, "text-model", 1, sequence_end=True).status_code == 200
    assert figure(served, "sequences_active", model_name="text-model") == 0
    assert send(served, "text-model", 2, sequence_start=True, sequence_end=True).is_success


async def test_a_model_s_own_limits_win(served: Service):
    assert send(served, "own-limits", 1, sequence_start=True).status_code == 200
    assert send(served, "own-limits", 2, sequence_start=True).status_code == 200
    labels = {"model_name": "own-limits", "model_version": "7"}
    await wait_until(lambda: figure(served, "sequences_active", **labels) == 0)
    assert send(served, "own-limits", 1).status_code == 400  # given up: START is missing


def test_a_model_that_is_unloaded_shows_no_sequences(served: Service):
    # Anything it says will do; it is asked so that it is known.
    send(served, "jpeg-model", 1)
    assert list(matching(scrape(served), "sequences_active", model_name="jpeg-model"))
    gone = httpx.post(f"{served.url}/v2/repository/models/jpeg-model/unload")
    assert gone.status_code == 200
    assert not list(matching(scrape(served), "sequences_active", model_name="jpeg-model"))
