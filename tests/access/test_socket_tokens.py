"""Tokens that open one socket each."""

import pytest

from mlserver_streaming.access import socket_tokens
from mlserver_streaming.access.callers import ADMIN, ANYBODY, INFER, Caller
from mlserver_streaming.access.socket_tokens import SocketTokens
from mlserver_streaming.errors import OverLimitError, UnauthenticatedError

BOSS = Caller("boss", frozenset({ADMIN}))
USER = Caller("user", frozenset({INFER}), frozenset({"m", "n"}))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> SocketTokens:
    return SocketTokens(clock)


@pytest.mark.parametrize("caller", [BOSS, USER, ANYBODY])
def test_it_stands_for_its_caller_at_one_model(tokens: SocketTokens, caller: Caller) -> None:
    found = tokens.take(tokens.make(caller, "m", 60))
    assert (found.name, found.identity) == (caller.name, caller.identity)
    assert (found.roles, found.models) == ({INFER}, {"m"})


def test_it_is_used_once(tokens: SocketTokens) -> None:
    token = tokens.make(USER, "m", 60)
    tokens.take(token)
    with pytest.raises(UnauthenticatedError) as refused:
        tokens.take(token)
    assert token not in str(refused.value) and "POST /v2/tokens" in str(refused.value)


def test_it_ends(tokens: SocketTokens, clock: Clock) -> None:
    short, long = tokens.make(USER, "m", 60), tokens.make(USER, "m", 61)
    clock.now = 60
    with pytest.raises(UnauthenticatedError):
        tokens.take(short)
    assert tokens.take(long).name == "user"


@pytest.mark.parametrize("token", ["", "sesame", "é\udcff", "mlt_none"])
def test_others_are_not_known(tokens: SocketTokens, token: str) -> None:
    tokens.make(USER, "m", 60)
    with pytest.raises(UnauthenticatedError):
        tokens.take(token)


def test_no_two_are_the_same(tokens: SocketTokens) -> None:
    made = {tokens.make(USER, "m", 60) for _ in range(100)}
    assert len(made) == 100
    assert min(map(len, made)) >= 40


def test_a_caller_has_a_bounded_number(
    tokens: SocketTokens, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_tokens, "MOST_OF_ONE", 2)
    first, _ = tokens.make(USER, "m", 60), tokens.make(USER, "m", 90)
    with pytest.raises(OverLimitError):
        tokens.make(USER, "m", 60)
    tokens.make(BOSS, "m", 60)
    tokens.take(first)  # used, it counts no more
    tokens.make(USER, "m", 60)
    with pytest.raises(OverLimitError):
        tokens.make(USER, "m", 60)
    clock.now = 60  # nor does one that is over
    tokens.make(USER, "m", 60)


def test_all_together_are_bounded(tokens: SocketTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_tokens, "MOST", 2)
    first, _ = tokens.make(USER, "m", 60), tokens.make(USER, "m", 60)
    with pytest.raises(OverLimitError):
        tokens.make(BOSS, "m", 60)
    tokens.take(first)
    tokens.make(BOSS, "m", 60)


def test_who_uses_many_costs_the_others_none_and_no_memory(
    tokens: SocketTokens, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_tokens, "MOST", 50)
    kept = [tokens.make(BOSS, "m", seconds) for seconds in (61, 62)]
    for _ in range(1_000):
        tokens.take(tokens.make(USER, "m", 60))
    assert len(tokens._ends) < 200
    clock.now = 61
    with pytest.raises(UnauthenticatedError):
        tokens.take(kept[0])
    assert tokens.take(kept[1]).name == "boss"
