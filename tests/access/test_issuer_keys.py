"""An issuer's keys: fetched seldom, beside the event loop, and kept while it does not answer."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from mlserver_streaming.access.issuer_keys import (
    FRESH_SECONDS,
    RETRY_SECONDS,
    FetchedKeys,
    FileKeys,
    issuer_keys,
)
from mlserver_streaming.errors import IssuerError
from tests.access.issuer import key_set, public_jwk


class Issuer:
    """Counts the questions; `answer` may be an exception."""

    def __init__(self, answer: Any):
        self.answer = answer
        self.asked = 0
        self.now = 0.0
        self.begun = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def __call__(self) -> Any:
        self.asked += 1
        self.begun.set()
        assert self.open.wait(10)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def keys(self) -> FetchedKeys:
        return FetchedKeys(self, lambda: self.now)


async def test_a_key_is_fetched_once() -> None:
    issuer = Issuer(key_set("rsa", "ec"))
    keys = issuer.keys()
    assert issuer.asked == 0
    found = await asyncio.gather(*(keys.find(kid) for kid in ("rsa", "ec") * 50))
    assert all(found)
    assert issuer.asked == 1


async def test_the_loop_goes_on_while_the_issuer_thinks() -> None:
    issuer = Issuer(key_set("rsa"))
    issuer.open.clear()
    finding = asyncio.create_task(issuer.keys().find("rsa"))
    await asyncio.to_thread(issuer.begun.wait, 10)
    assert not finding.done()
    issuer.open.set()
    assert await finding


async def test_one_that_hangs_up_does_not_take_the_question_along() -> None:
    issuer = Issuer(key_set("rsa"))
    issuer.open.clear()
    keys = issuer.keys()
    first, second = (asyncio.create_task(keys.find("rsa")) for _ in range(2))
    await asyncio.to_thread(issuer.begun.wait, 10)
    first.cancel()
    issuer.open.set()
    assert await second
    assert first.cancelled()
    assert issuer.asked == 1


async def test_an_unknown_key_is_asked_for_at_a_bounded_rate() -> None:
    issuer = Issuer(key_set("rsa"))
    keys = issuer.keys()
    assert await keys.find("rsa")
    for _ in range(1000):
        assert await keys.find("made-up") is None
    assert issuer.asked == 1
    issuer.answer = key_set("rsa", "new")
    issuer.now = RETRY_SECONDS
    assert await keys.find("new")
    assert issuer.asked == 2


async def test_a_dead_issuer_leaves_the_keys_that_are_known() -> None:
    issuer = Issuer(key_set("rsa"))
    keys = issuer.keys()
    await keys.find("rsa")
    issuer.answer = OSError("no route to host")
    issuer.now = 10 * FRESH_SECONDS
    assert await keys.find("rsa")
    with pytest.raises(IssuerError):
        await keys.find("new")
    assert issuer.asked == 2
    assert await keys.find("rsa")


@pytest.mark.parametrize("answer", [OSError("dead"), "no set", {}, {"keys": []}, {"keys": [7, {}]}])
async def test_without_any_key_it_is_the_service_that_is_not_able(answer: Any) -> None:
    issuer = Issuer(answer)
    keys = issuer.keys()
    for _ in range(100):
        with pytest.raises(IssuerError) as caught:
            await keys.find("rsa")
        assert caught.value.status_code == 503
    assert issuer.asked == 1
    issuer.answer = key_set("rsa")
    issuer.now = RETRY_SECONDS
    assert await keys.find("rsa")
    assert await keys.find("made-up") is None


async def test_old_keys_are_fetched_again_beside_the_calls() -> None:
    issuer = Issuer(key_set("rsa", "old"))
    keys = issuer.keys()
    await keys.find("rsa")
    issuer.answer = key_set("rsa")
    issuer.now = FRESH_SECONDS + 1
    issuer.open.clear()
    assert await keys.find("old")
    issuer.open.set()
    async with asyncio.timeout(10):
        while await keys.find("old"):  # noqa: ASYNC110  (there is nothing to wait for but this)
            await asyncio.sleep(0)
    assert issuer.asked == 2


async def test_only_keys_that_check_signatures_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    secret = {"kty": "oct", "kid": "oct", "k": "c2VzYW1l", "alg": "HS256"}
    odd = [
        secret,
        {**public_jwk("rsa"), "kid": "enc", "use": "enc"},
        {"kty": "RSA", "kid": "broken"},
        7,
    ]
    path.write_text(json.dumps({"keys": [*odd, public_jwk("rsa")]}))
    keys = issuer_keys("jwks.json", str(path))
    assert isinstance(keys, FileKeys)
    for kid in ("oct", "enc", "broken"):
        assert await keys.find(kid) is None
    assert await keys.find("rsa")
    assert await keys.find(None) is await keys.find("rsa")
    path.write_text(json.dumps({"keys": odd}))
    with pytest.raises(SystemExit, match="no public key that can check signatures"):
        issuer_keys("jwks.json", str(path))


def test_a_url_is_fetched_and_not_at_the_start() -> None:
    assert isinstance(issuer_keys("https://127.0.0.1:1/jwks", "unused"), FetchedKeys)
