"""A service with settings of its own: quick keep-alive comments, and CORS."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.live.conftest import make_folder
from tests.live.rest_calls import open_gate, path, probe, prompt
from tests.live.warm import WarmService

HERE = {"Origin": "https://here.example"}
ASKED = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-Ours"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = make_folder(
        tmp_path_factory.mktemp("settings"),
        streaming={"keepalive_seconds": 0.05, "first_response_grace_seconds": 0.05},
        cors_settings={
            "allow_origins": [HERE["Origin"]],
            "allow_methods": ["POST"],
            "allow_headers": ["X-Ours"],
            "expose_headers": ["Ce-Id", "Inference-Header-Content-Length"],
        },
    )
    with (
        WarmService(folder, folder / "server.log") as service,
        httpx.Client(base_url=service.url, timeout=20) as client,
    ):
        yield client


def test_comments_keep_a_silent_stream_alive(client: httpx.Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    body = probe(steps=2, gate=str(gate), refuse_at=1)
    with client.stream("POST", path("probe", "infer_stream"), json=body) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data:")
        comments = [next(lines) for _ in range(6)]
        assert comments[1:] == [": keep-alive", "", ": keep-alive", "", ": keep-alive"]
        open_gate(gate, 1)
        *_, kind, data, end = lines
    assert (kind, end) == ("event: error", "")
    assert data == 'data: {"error":"the probe was told to refuse"}'


def test_after_the_grace_an_error_is_an_event(client: httpx.Client) -> None:
    body = probe(seconds=0.2, refuse_at=0)
    answer = client.post(path("probe", "infer_stream"), json=body)
    assert answer.status_code == 200
    assert answer.text.startswith(": keep-alive")
    assert answer.text.endswith('event: error\ndata: {"error":"the probe was told to refuse"}\n\n')


def test_a_preflight_is_answered_as_the_settings_say(client: httpx.Client) -> None:
    answer = client.options(path("text-model", "generate_stream"), headers=HERE | ASKED)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == HERE["Origin"]
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert "X-Ours" in answer.headers["access-control-allow-headers"]
    elsewhere = {"Origin": "https://else.example"}
    answer = client.options(path("text-model", "infer"), headers=ASKED | elsewhere)
    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("model", "call", "status"),
    [
        ("text-model", "infer", 200),
        ("text-model", "generate_stream", 200),
        ("nope", "generate_stream", 404),
    ],
)
def test_an_answer_exposes_its_headers(
    client: httpx.Client, model: str, call: str, status: int
) -> None:
    answer = client.post(path(model, call), json=prompt(), headers=HERE)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == HERE["Origin"]
    exposed = answer.headers["access-control-expose-headers"]
    assert exposed == "Ce-Id, Inference-Header-Content-Length"
