"""The store of streams against a real server: order, leases, bounds, and what is not believed."""

import asyncio
from contextlib import aclosing, asynccontextmanager
from time import monotonic
from unittest.mock import call, create_autospec, patch

import pytest

from mlserver_streaming.resume.figures import StoreFigures
from mlserver_streaming.resume.redis_link import CONNECTIONS, RedisLink
from mlserver_streaming.resume.redis_store import PREFIX, RedisStore, _set
from mlserver_streaming.resume.seal import Seal
from mlserver_streaming.resume.store import (
    GoneError,
    LeftBehindError,
    NotHeldError,
    Part,
    StoreError,
    Told,
    UnheldError,
)
from tests.certificates import Authority
from tests.live.service import ROOT
from tests.redis_server import RIGHTS, RedisServer, free_port, needs_redis

pytestmark = needs_redis
ID, OWNER, SECRET = "s" * 22, "somebody", b"x" * 16


@pytest.fixture(scope="module")
def running():
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(running):
    running.empty()
    return running


@asynccontextmanager
async def replica(server, secret=SECRET, **settings):
    figures = create_autospec(StoreFigures, instance=True)
    url, password = settings.pop("url", server.url), settings.pop("password", None)
    link = RedisLink(url, settings.pop("timeout", 1.0), 0.2, figures, password)
    given = {"lease_seconds": 5, "seconds": 60, "stream_bytes": 10_000, **settings}
    store = RedisStore(link, Seal(secret), **given)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def one(server):
    async with replica(server) as store:
        yield store


@pytest.fixture
async def other(server):
    async with replica(server) as store:
        yield store


def part(number: int, **given) -> Part:
    """The response of this number, from 1."""
    return Part(number - 1, 1, f"w{number}".encode(), **given)


async def heard(store, after=0, owner=OWNER, stream=ID) -> list[Part]:
    async with aclosing(store.follow(stream, owner, after)) as parts:
        return [each async for each in parts]


async def test_another_replica_hears_all_of_it_and_the_end(one, other):
    await one.begin(ID, OWNER, b"head")
    listening = asyncio.create_task(heard(other))
    for number in range(1, 51):
        assert not (await one.write(ID, part(number))).cancel
    await one.write(ID, Part(50, ending=b"well"))
    parts = await listening
    assert [each.chunk.decode() for each in parts[:-1]] == [f"w{n}" for n in range(1, 51)]
    assert parts[-1] == Part(50, ending=b"well")
    kept = await other.look(ID, OWNER)
    assert (kept.head, kept.first, kept.last, kept.ending) == (b"head", 1, 50, b"well")
    assert [each.after for each in await heard(other, 48)] == [48, 49, 50]


async def test_what_is_written_twice_is_there_once(one, other):
    await one.begin(ID, OWNER, b"")
    for each in (part(1), part(1), Part(1, 2, b"ab"), part(2), Part(0, 3, b"all"), part(4)):
        with_overlap = each.after < 3 < each.last
        assert not with_overlap
        await one.write(ID, each)
    await one.write(ID, Part(4, ending=b""))
    assert await one.write(ID, Part(4, ending=b"")) == Told(False, False, False)
    assert [(each.after, each.count) for each in await heard(other)] == [
        (0, 1),
        (1, 2),
        (3, 1),
        (4, 0),
    ]


async def test_nothing_is_written_behind_a_gap(one):
    await one.begin(ID, OWNER, b"")
    await one.write(ID, part(1))
    with pytest.raises(NotHeldError):
        await one.write(ID, part(3))
    assert (await one.look(ID, OWNER)).last == 1


async def test_an_id_begins_once(one, other):
    await one.begin(ID, OWNER, b"")
    with pytest.raises(NotHeldError):
        await other.begin(ID, OWNER, b"")
    await one.begin(ID, OWNER, b"")  # its answer was late, say


async def test_who_asks_for_another_callers_stream_finds_none(one, other):
    await one.begin(ID, OWNER, b"head")
    for asked in (other.look(ID, "else"), heard(other, owner="else"), other.look("t" * 22, OWNER)):
        with pytest.raises(GoneError):
            await asked
    assert (list(await other.streams(OWNER)), await other.streams("else")) == ([ID], {})
    await one.drop(ID, OWNER)
    assert await other.streams(OWNER) == {}


async def test_a_caller_is_told_of_all_his_streams_with_few_questions(one, other):
    ids = [f"{number:022}" for number in range(40)]
    for stream in ids:
        await one.begin(stream, OWNER, stream.encode())
    await one.drop(ids[7], OWNER)
    with patch.object(other._link, "ask", wraps=other._link.ask) as ask:
        found = await other.streams(OWNER)
    assert {name: kept.head for name, kept in found.items()} == {
        stream: stream.encode() for stream in ids if stream != ids[7]
    }
    assert ask.await_count <= 4


async def test_a_stream_is_taken_by_one_once_its_holder_is_gone(server):
    async with (
        replica(server, lease_seconds=0.2) as dying,
        replica(server) as b,
        replica(server) as c,
    ):
        await dying.begin(ID, OWNER, b"")
        await dying.write(ID, part(1))
        assert not await b.take(ID)
        parts = []
        with pytest.raises(UnheldError):
            async with aclosing(b.follow(ID, OWNER, 0)) as following:
                async for each in following:
                    parts.append(each)
        assert parts == [part(1)]
        took = await asyncio.gather(b.take(ID), c.take(ID))
        assert sum(took) == 1
        assert await asyncio.gather(b.take(ID), c.take(ID)) == took  # its answer was late, say
        winner = b if took[0] else c
        with pytest.raises(NotHeldError):  # it was asleep, and wakes up
            await dying.write(ID, part(2))
        await winner.write(ID, part(2, ending=b"well"))
        assert not await dying.take(ID)
        assert [each.last for each in await heard(dying)] == [1, 2, 2]


async def test_a_lease_that_was_let_go_is_taken_at_once(one, other):
    await one.begin(ID, OWNER, b"")
    await one.release(ID)
    with pytest.raises(UnheldError):
        await heard(other)
    assert await other.take(ID)
    await one.release(ID)  # no longer ours to let go
    assert (await other.look(ID, OWNER)).is_held


async def test_cancelling_is_told_to_who_writes(one, other):
    await one.begin(ID, OWNER, b"")
    for delete in (False, True, False):  # what is deleted stays so
        await other.cancel(ID, delete)
        kept, told = await other.look(ID, OWNER), await one.write(ID, Part(0))
        assert kept.is_cancelled and told.cancel and not told.read
        assert kept.is_deleted == told.delete == (kept.is_deleted or delete)
    assert kept.is_deleted


async def test_who_writes_is_told_that_it_is_read_elsewhere(one, other):
    await one.begin(ID, OWNER, b"")
    assert not (await one.write(ID, part(1))).read
    async with aclosing(other.follow(ID, OWNER, 0)) as following:
        assert await anext(following) == part(1)
        waiting = asyncio.ensure_future(anext(following))
        while not (await one.write(ID, Part(1))).read:
            pass
        await one.write(ID, part(2))
        assert await waiting == part(2)


async def test_who_was_away_drops_no_stream_that_another_took(server, one):
    async with replica(server, lease_seconds=0.05) as away:
        await away.begin(ID, OWNER, b"head")
        await away.write(ID, part(1))
        while not await one.take(ID):
            pass
        await away.drop(ID, OWNER)
        await one.write(ID, part(2, ending=b"over"))
        await away.drop(ID, OWNER)
        assert [each.count for each in await heard(one)] == [1, 1, 0]
        assert [*await one.streams(OWNER)] == [ID]


async def test_a_callers_set_holds_few_that_have_expired(server):
    async with replica(server, seconds=0.02) as store:
        for number in range(200):
            await store.begin(f"{number}", OWNER, b"head")
            await asyncio.sleep(0.001)
        held = await store._link.client.zcard(_set(OWNER))
        # A third at most, in the long run, beside those that are there.
        assert held < 130


async def test_a_server_that_was_started_again_answers_the_first_who_ask():
    with RedisServer() as server:
        async with replica(server, timeout=10) as store:
            names = [f"{number}" for number in range(CONNECTIONS)]
            await asyncio.gather(*(store.begin(each, OWNER, b"head") for each in names))
            server.kill()
            server.start()
            for each in names:
                await store.begin(each, OWNER, b"head")


async def test_a_stream_that_moved_is_nobodys_to_take(one, other):
    await one.begin(ID, OWNER, b"")
    with pytest.raises(NotHeldError):
        await other.move(ID, OWNER, "t" * 22)
    await one.move(ID, OWNER, "t" * 22)
    kept = await other.look(ID, OWNER)
    assert (kept.moved, kept.is_held, await other.take(ID)) == ("t" * 22, False, False)


async def test_the_oldest_goes_and_who_needs_it_is_told(server):
    async with replica(server, stream_bytes=1000) as one, replica(server) as other:
        await one.begin(ID, OWNER, b"")
        for number in range(1, 11):
            await one.write(ID, Part(number - 1, 1, bytes(200)))
        kept = await other.look(ID, OWNER)
        assert (kept.first, kept.last) == (7, 10)
        with pytest.raises(LeftBehindError) as behind:
            await heard(other, 5)
        assert behind.value.first == 7
        await one.write(ID, Part(10, ending=b""))
        assert [each.after for each in await heard(other, 6)] == [6, 7, 8, 9, 10]


async def test_all_of_it_expires(server):
    async with replica(server, seconds=0.2, lease_seconds=0.1) as one:
        await one.begin(ID, OWNER, b"")
        await one.write(ID, part(1, ending=b""))
        deadline = monotonic() + 10
        while server.command("DBSIZE") != ":0":
            assert monotonic() < deadline
            await asyncio.sleep(0.02)
        with pytest.raises(GoneError):
            await one.look(ID, OWNER)


@pytest.mark.parametrize("what", ["head", "ending"])
async def test_what_others_wrote_into_the_table_is_not_believed(server, one, what):
    await one.begin(ID, OWNER, b"head")
    await one.write(ID, part(1, ending=b"well"))
    server.command("HSET", f"{PREFIX}{ID}:table", what, bytes(32) + b"mine")
    with pytest.raises(GoneError):
        await one.look(ID, OWNER)


@pytest.mark.parametrize("field", ["c", "a"])
async def test_what_others_wrote_among_the_chunks_is_not_believed(server, one, field):
    await one.begin(ID, OWNER, b"")
    await one.write(ID, part(1))
    fields = {"c": bytes(32) + b"mine", "a": b"1", field: b"0"}
    chunks = f"{PREFIX}{ID}:chunks"
    assert server.command("XADD", chunks, "2-0", "a", fields["a"], "c", fields["c"]) == "$3"
    server.command("HSET", f"{PREFIX}{ID}:table", "last", "2")
    with pytest.raises(GoneError):
        await heard(one)


async def test_chunks_of_another_stream_or_secret_are_not_believed(server, one):
    async with replica(server, secret=b"y" * 16) as stranger:
        await stranger.begin(ID, OWNER, b"head")
        with pytest.raises(GoneError):
            await one.look(ID, OWNER)


async def test_a_full_store_is_told(server, one, other):
    await one.begin(ID, OWNER, b"")
    server.fill()
    with pytest.raises(StoreError):
        await one.write(ID, part(1))
    await one.drop(ID, OWNER)
    with pytest.raises(GoneError):
        await other.look(ID, OWNER)


async def test_one_that_came_back_empty_is_told(server, one):
    await one.begin(ID, OWNER, b"")
    server.empty()
    with pytest.raises(NotHeldError):
        await one.write(ID, part(1))


async def test_a_server_that_hangs_is_left_alone_and_asked_again(server):
    async with replica(server, timeout=0.1) as one:
        await one.begin(ID, OWNER, b"head")
        server.hang()
        try:
            for _ in range(5):
                with pytest.raises(StoreError):
                    await one.look(ID, OWNER)
            begun = monotonic()
            with pytest.raises(StoreError, match="left alone"):
                await one.look(ID, OWNER)
            assert monotonic() - begun < 0.1
        finally:
            server.go_on()
        while True:
            try:
                kept = await one.look(ID, OWNER)
                break
            except StoreError:
                await asyncio.sleep(0.02)
        assert kept.head == b"head"  # this question's answer, not one of those before


async def test_many_that_wait_for_one_moments_fault_count_once(server):
    async with replica(server, timeout=0.1) as one:
        await one.begin(ID, OWNER, b"head")
        server.hang()
        try:
            asked = (one.look(ID, OWNER) for _ in range(5))
            found = await asyncio.gather(*asked, return_exceptions=True)
        finally:
            server.go_on()
        assert [type(each) for each in found] == [StoreError] * 5
        assert (await one.look(ID, OWNER)).head == b"head"  # it is not left alone


async def test_a_server_that_died_and_came_back(tmp_path):
    with RedisServer() as server:
        async with replica(server) as one, replica(server) as other:
            await one.begin(ID, OWNER, b"")
            listening = asyncio.create_task(heard(other))
            await one.write(ID, part(1))
            server.kill()
            with pytest.raises(StoreError):
                await one.write(ID, part(2))
            with pytest.raises(StoreError):
                await listening
            server.start()
            while True:
                try:
                    await one.begin("t" * 22, OWNER, b"")
                    break
                except StoreError:
                    await asyncio.sleep(0.02)
            listening = asyncio.create_task(heard(other, stream="t" * 22))
            await one.write("t" * 22, part(1, ending=b""))
            assert [each.last for each in await listening] == [1, 1]


async def written_and_read(server, **settings):
    """What the rights and the way there must allow."""
    async with replica(server, **settings) as one, replica(server, **settings) as other:
        await one.begin(ID, OWNER, b"head")
        listening = asyncio.create_task(heard(other))
        await one.write(ID, part(1))
        await one.amend(ID, OWNER, b"more")
        await one.release(ID)
        with pytest.raises(UnheldError):
            await listening
        assert await other.take(ID)
        assert [*await one.streams(OWNER)] == [ID]
        await one.cancel(ID, True)
        assert (await other.write(ID, part(2, ending=b"over"))).cancel
        assert [each.last for each in await heard(one)] == [1, 2, 2]
        await one.begin("t" * 22, OWNER, b"")
        await one.move("t" * 22, OWNER, "u" * 22)
        await one.begin("u" * 22, OWNER, b"")
        await one.drop("u" * 22, OWNER)


async def test_a_user_with_the_rights_that_are_documented_can_do_all_of_it(server):
    assert RIGHTS in " ".join((ROOT / "docs" / "scaling.md").read_text().split())
    rights = RIGHTS.split()
    assert server.command("ACL", "SETUSER", "streaming", "reset", "on", ">pass", *rights) == "+OK"
    url = server.url.replace("//", "//streaming@")
    await written_and_read(server, url=url, password="pass")
    async with replica(server, url=url, password="wrong") as store:
        for _ in range(3):
            with pytest.raises(StoreError):
                await store.look(ID, OWNER)
        figures = store._link.figures
        assert figures.failed.mock_calls == [call("refused")] * 3
        figures.is_up.assert_called_once_with(False)


async def test_a_server_with_tls_is_asked_once_it_is_known(tmp_path):
    authority, port = Authority(), free_port()
    ca = authority.write(tmp_path / "ca.pem")
    certificate, key = authority.server().write(tmp_path, "server")
    files = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", ca]
    options = ["--tls-port", port, "--tls-auth-clients", "no", *files]
    with RedisServer(*(str(option) for option in options)) as server:
        url = f"rediss://127.0.0.1:{port}"
        await written_and_read(server, url=f"{url}?ssl_ca_certs={ca}")
        async with replica(server, url=url) as store:
            with pytest.raises(StoreError):
                await store.look(ID, OWNER)
            store._link.figures.failed.assert_called_once_with("connection")


async def test_it_is_known_whether_the_server_answers_before_it_is_asked(tmp_path):
    with RedisServer() as server:
        async with replica(server) as one:
            link, told = one._link, asyncio.Queue()
            link.figures.is_up.side_effect = told.put_nowait
            link.watch()
            assert await told.get()
            server.kill()
            for _ in range(3):
                with pytest.raises(StoreError):
                    await one.look(ID, OWNER)
            assert not await told.get()
            server.start()
            async with asyncio.timeout(20):
                while not await told.get():
                    pass
