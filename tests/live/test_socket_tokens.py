"""Tokens for browsers at a service with keys: bought, used, refused, and never in the log."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.live.keyed import Keyed, keyed_service
from tests.live.rest_calls import Body, prompt
from tests.live.watch import PATIENCE


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    with keyed_service(tmp_path_factory.mktemp("tokens")) as found:
        yield found


def bought(keyed: Keyed, caller: str = "infer", **asked: Any) -> httpx.Response:
    return httpx.post(
        f"{keyed.service.url}/v2/tokens",
        headers=keyed.headers[caller],
        json={"model": "text-model", **asked},
        timeout=PATIENCE,
    )


def token(keyed: Keyed, **asked: Any) -> str:
    found: str = bought(keyed, **asked).json()["token"]
    return found


async def asked(keyed: Keyed, token: str, model: str = "text-model", **named: Any) -> Body:
    """The first answer of a socket."""
    url = f"ws://127.0.0.1:{keyed.service.http}/v2/models/{model}/stream"
    offered: Any = ["v2.stream", f"token.{token}"]
    async with connect(url, subprotocols=offered, proxy=None, **named) as socket:
        assert socket.subprotocol == "v2.stream"
        await socket.send(json.dumps(prompt("one")))
        found: Body = json.loads(await socket.recv())
        return found


async def refused(keyed: Keyed, token: str, **named: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as error:
        await asked(keyed, token, **named)
    response = error.value.response
    return response.status_code, json.loads(response.body or b"")["error"]


def test_what_is_bought(keyed: Keyed) -> None:
    answer = bought(keyed, seconds=300)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    left = datetime.fromisoformat(answer.json()["expires"]) - datetime.now(UTC)
    assert 200 < left.total_seconds() <= 300


@pytest.mark.parametrize(
    ("caller", "asked", "status"),
    [
        ("nobody", {}, 401),
        ("limited", {"model": "jpeg-model"}, 403),
        ("infer", {"model": "no-such"}, 404),
        ("infer", {"model": 7}, 400),
        ("infer", {"seconds": 0}, 400),
        ("infer", {"seconds": 301}, 400),
        ("infer", {"seconds": True}, 400),
    ],
)
def test_what_is_not_sold(keyed: Keyed, caller: str, asked: Body, status: int) -> None:
    answer = bought(keyed, caller, **asked)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])


async def test_it_opens_one_socket(keyed: Keyed) -> None:
    found = token(keyed)
    answer = await asked(keyed, found, origin=f"http://127.0.0.1:{keyed.service.http}")
    assert answer["outputs"][0]["data"] == ["one"]
    status, error = await refused(keyed, found)
    assert (status, found in error) == (401, False)


async def test_it_is_for_one_model(keyed: Keyed) -> None:
    status, error = await refused(keyed, token(keyed), model="jpeg-model")
    assert (status, error) == (403, "'infer' may not use model 'jpeg-model'.")


async def test_a_page_from_elsewhere_opens_none(keyed: Keyed) -> None:
    status, error = await refused(keyed, token(keyed), origin="https://there.example")
    assert (status, "cors_settings" in error) == (403, True)


async def test_the_log_has_no_token(keyed: Keyed) -> None:
    found = token(keyed)
    await asked(keyed, found)
    await refused(keyed, found)
    log = keyed.service.log.read_text()
    assert "protocol=websocket" in log
    assert "mlt_" not in log and found not in log
