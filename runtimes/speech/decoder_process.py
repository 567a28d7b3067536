"""A decoder in a process of its own, seen from the service: one request at a time over a socket.

The process is a fresh interpreter that runs one script, never a fork: the service has threads. It
ends when its socket does, so however the service ends, no process outlives it.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from mlserver.logging import logger

from .pocketsphinx_worker import LENGTHS
from .recogniser import DecoderDiedError

SCRIPT = Path(__file__).with_name("pocketsphinx_worker.py")
START_SECONDS = 60.0
END_SECONDS = 5.0


class DecoderProcess:
    """Start it with `start`; ask it with `ask`; end it with `close`."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ):
        self._process = process
        self._reader, self._writer = reader, writer
        self._asked: asyncio.Task[dict[str, Any]] | None = None
        self._dead = False

    @classmethod
    async def start(cls, options: dict[str, Any]) -> "DecoderProcess":
        """A decoder that is ready.

        Args:
            options: pocketsphinx's own.

        Raises:
            ValueError: pocketsphinx refuses its options.
            DecoderDiedError: the process ended as it started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            # -P: the script's folder holds modules with the names of others'.
            command = [sys.executable, "-P", str(SCRIPT), str(theirs.fileno()), json.dumps(options)]
            process = await asyncio.to_thread(
                subprocess.Popen,
                command,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        decoder = cls(process, reader, writer)
        try:
            async with asyncio.timeout(START_SECONDS):
                hello = await decoder._receive()
        except BaseException:
            await decoder.close()
            raise
        if error := hello.get("error"):
            await decoder.close()
            raise ValueError(f"pocketsphinx does not start with the options {options}: {error}")
        return decoder

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return not self._dead and self._process.poll() is None and not self._reader.at_eof()

    @property
    def busy(self) -> bool:
        """Whether something that was asked is not answered yet."""
        return self._asked is not None and not self._asked.done()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, do: str, samples: bytes = b"") -> dict[str, Any]:
        """One request, one answer; requests are answered in turn, also those given up.

        Raises:
            DecoderDiedError
        """
        before = self._asked
        self._asked = asyncio.create_task(self._exchange(before, do, samples))
        self._asked.add_done_callback(_seen)
        # Shielded: whoever gives up must leave no answer behind for the next one.
        return await asyncio.shield(self._asked)

    async def settled(self) -> None:
        """Wait until everything that was asked is answered, or can no longer be."""
        if self._asked is not None:
            await asyncio.wait([self._asked])

    async def close(self) -> None:
        """End the process, and wait for that."""
        self._writer.close()
        self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    async def _exchange(
        self, before: "asyncio.Task[dict[str, Any]] | None", do: str, samples: bytes
    ) -> dict[str, Any]:
        if before is not None:
            await asyncio.wait([before])
        text = json.dumps({"do": do}).encode()
        try:
            self._writer.write(LENGTHS.pack(len(text), len(samples)) + text + samples)
            await self._writer.drain()
        except OSError as error:
            raise self._died() from error
        return await self._receive()

    async def _receive(self) -> dict[str, Any]:
        try:
            text, _ = LENGTHS.unpack(await self._reader.readexactly(LENGTHS.size))
            found: dict[str, Any] = json.loads(await self._reader.readexactly(text))
            return found
        except (asyncio.IncompleteReadError, OSError) as error:
            raise self._died() from error

    def _died(self) -> DecoderDiedError:
        self._dead = True
        logger.warning("Decoder process %d ended unasked.", self._process.pid)
        return DecoderDiedError(
            "The process that recognised this speech died and another one takes its place; send "
            "the audio again."
        )


def _seen(task: "asyncio.Task[dict[str, Any]]") -> None:
    """Mark a given-up request's exception as seen."""
    if not task.cancelled():
        task.exception()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
