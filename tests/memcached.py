"""Memcached servers for tests: a real one, and one that does what a test tells it to."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

import pytest

BINARY = shutil.which("memcached")
START_SECONDS = 10

needs_memcached = pytest.mark.skipif(
    BINARY is None, reason="memcached is not installed (Debian: apt-get install memcached)"
)


class Memcached:
    """A real memcached on a free port of the loopback; it can die, come back and be stopped."""

    def __init__(self, megabytes: int = 64) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._megabytes = megabytes

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> Memcached:
        assert BINARY is not None
        # Root must say whom it becomes.
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        where = ["-l", "127.0.0.1", "-p", str(self.port), "-U", "0"]
        self.process = subprocess.Popen(
            [BINARY, *where, "-m", str(self._megabytes), *user],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return self
        self.kill()
        raise RuntimeError("memcached does not answer")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def hang(self) -> None:
        """Connections are taken, by the kernel; nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def command(self, line: bytes, value: bytes | None = None) -> bytes:
        """What it answers to a line (and a value), as it says it."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(line + b"\r\n" + (b"" if value is None else value + b"\r\n"))
            found = b""
            while not found.endswith((b"END\r\n", b"OK\r\n", b"STORED\r\n", b"DELETED\r\n")):
                more = connection.recv(65536)
                if not more:
                    break
                found += more
        return found

    def stored(self) -> list[bytes]:
        found = self.command(b"lru_crawler metadump all")
        lines = [line for line in found.split(b"\n") if line.startswith(b"key=")]
        return [line.split()[0].removeprefix(b"key=").replace(b"%3A", b":") for line in lines]

    def value(self, key: bytes) -> bytes:
        head, _, rest = self.command(b"get " + key).partition(b"\r\n")
        return rest[: int(head.split()[3])]

    def put(self, key: bytes, value: bytes) -> None:
        answer = self.command(b"set %b 0 0 %d" % (key, len(value)), value)
        assert answer == b"STORED\r\n", answer

    def __enter__(self) -> Memcached:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()


class FakeMemcached:
    """A server in the test's own loop.

    Attributes:
        values: what it holds.
        gets: the keys that it was asked for.
        answer: gives the answer to a line instead; None leaves it without.
    """

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.gets: list[bytes] = []
        self.connections = 0
        self.answer: Callable[[bytes], bytes | None] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> FakeMemcached:
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                writer.write(await self._answered(line.split(), reader))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # also when the test's loop ends
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answered(self, words: list[bytes], reader: asyncio.StreamReader) -> bytes:
        value = b""
        if words[0] == b"set":
            value = (await reader.readexactly(int(words[4]) + 2))[:-2]
        else:
            self.gets.append(words[1])
        if self.answer is not None:
            return self.answer(b" ".join(words)) or b""
        if words[0] == b"set":
            self.values[words[1]] = value
            return b"STORED\r\n"
        if (found := self.values.get(words[1])) is None:
            return b"END\r\n"
        return b"VALUE %b 0 %d\r\n%b\r\nEND\r\n" % (words[1], len(found), found)


@contextmanager
def dead_port() -> Iterator[int]:
    """A port that refuses connections for as long as the block lasts."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
