import asyncio
import mmap
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import uvloop

from mlserver_streaming.access.read_buffer import give_back_pages

from ..certificates import Authority

PAGE = mmap.PAGESIZE
linux = pytest.mark.skipif(sys.platform != "linux", reason="madvise(2) zeroes pages on Linux")


class Reader:
    """As TLS's protocol is to a transport: it has a buffer."""

    def __init__(self, buffer: memoryview):
        self._buffer = buffer

    def get_buffer(self, size: int) -> memoryview:
        return self._buffer


class Transport:
    def __init__(self, protocol: Any = None):
        self.protocol = protocol


@linux
def test_whole_pages_are_given_back_and_what_lies_beside_them_stays() -> None:
    with mmap.mmap(-1, 4 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.write(b"x" * 4 * PAGE)
        with memoryview(memory) as whole, whole[PAGE // 2 : -PAGE // 2] as buffer:
            give_back_pages(Transport(Reader(buffer)))
        assert memory[:PAGE] == memory[-PAGE:] == b"x" * PAGE
        assert memory[PAGE:-PAGE] == bytes(2 * PAGE)


@linux
def test_a_buffer_without_a_whole_page_stays() -> None:
    with mmap.mmap(-1, 2 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.write(b"x" * 2 * PAGE)
        with memoryview(memory) as whole, whole[1 : PAGE + 1] as buffer:
            give_back_pages(Transport(Reader(buffer)))
        assert memory[:] == b"x" * 2 * PAGE


def test_a_transport_without_one_is_left_alone() -> None:
    give_back_pages(Transport())


@linux
@pytest.mark.parametrize("run", [uvloop.run, asyncio.run])
def test_a_tls_connection_goes_on_when_its_pages_are_gone(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    monkeypatch.setattr(
        "mlserver_streaming.access.read_buffer._madvise",
        lambda start, size, advice: given.append(size.value),
    )
    undone = monkeypatch.undo
    authority = Authority()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(*authority.server().write(tmp_path, "server"))
    asking = ssl.create_default_context(cadata=authority.pem.decode())

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            give_back_pages(transport)
            undone()
            give_back_pages(transport)

        def data_received(self, data: bytes) -> None:
            give_back_pages(self.transport)
            self.transport.write(data)

    async def asked() -> bytes:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=serving)
        async with server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=asking)
            writer.write(said)
            answer = await reader.readexactly(len(said))
            writer.close()
            await writer.wait_closed()
            return answer

    said = bytes(range(256)) * 4096
    assert run(asked()) == said
    # There is a buffer to find, and almost all of it is whole pages.
    assert len(given) == 1 and given[0] >= 200 * 1024
