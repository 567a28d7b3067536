"""llama.cpp inside this process (xllamacpp): any GGUF, its streams batched token by token.

Its calls block a thread each until the answer is whole, and call back in that thread with every
chunk. It listens where nobody can connect: it cannot be told not to.
"""

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlserver_streaming.models.errors import MLServerError, RequestError

from . import llama_wire
from .engine import Piece, Usage
from .generation import Generation
from .handover import Handover
from .slots import Slots

# OpenMP's threads spin while they wait for work; on a machine that others use too that makes
# answers twenty times slower. Read once, when the library is loaded.
WAITING = ("OMP_WAIT_POLICY", "passive")


def import_xllamacpp() -> Any:
    """The library. Raises ModuleNotFoundError."""
    os.environ.setdefault(*WAITING)
    import xllamacpp

    return xllamacpp


@dataclass(frozen=True, slots=True)
class LlamaSettings:
    """
    Attributes:
        context: tokens of a prompt and its answer, for each stream.
        slots: streams at once.
        waiting: streams that may wait for a slot.
        threads: that compute.
        batch: tokens of prompts that are read at once. Others' streams stand still for so long, and
            so does a hang-up.
        reuse: whether a prompt that begins as an earlier one did is not computed again.
        own: attributes of its CommonParams.
    """

    context: int
    slots: int
    waiting: int
    threads: int
    batch: int
    reuse: bool
    own: dict[str, Any]


class LlamaEngine:
    """One GGUF."""

    def __init__(self, file: Path, settings: LlamaSettings):
        self.context, self.choices = settings.context, settings.slots
        self._file, self._settings = file, settings
        self._library = import_xllamacpp()
        self._slots = Slots(settings.slots, settings.waiting)
        # A stream holds a thread, and a slot at least.
        self._pool = ThreadPoolExecutor(settings.slots, thread_name_prefix="llama")
        self._server: Any = None
        self._running: set[Handover] = set()

    async def load(self) -> None:
        # Its library keeps the GIL all the while: what other models begin in threads begins before.
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        self._server = await loop.run_in_executor(self._pool, self._open)

    async def close(self) -> None:
        for handover in self._running:
            handover.closed = True
        await asyncio.to_thread(self._pool.shutdown)
        # Waits for its threads.
        server, self._server = [self._server], None
        await asyncio.to_thread(server.clear)

    async def generate(self, generation: Generation) -> AsyncGenerator[Piece | Usage, None]:
        await self._slots.take(generation.n)
        handover = Handover()
        self._running.add(handover)
        loop = asyncio.get_running_loop()
        try:
            done = loop.run_in_executor(self._pool, self._work, generation, handover)
        except BaseException:
            self._give_back(handover, generation.n)
            raise
        # The slots are free when the thread is, not when the caller has gone.
        done.add_done_callback(lambda _: self._give_back(handover, generation.n))
        spent: list[Usage] = []
        begun = False
        try:
            async for chunk in handover.items():
                for piece in llama_wire.pieces(chunk, generation.logprobs):
                    begun = True
                    yield piece
                if (found := llama_wire.usage(chunk)) is not None:
                    spent.append(found)
        except _RefusedError as error:
            if begun:
                raise
            raise _about(llama_wire.refused(str(error)), generation) from error
        except RequestError as error:
            raise _about(error, generation) from None
        finally:
            gone, handover.closed = handover.closed, True
        await done  # a matter of moments; then its slots are free too
        if gone:
            raise MLServerError("The model is being unloaded; try again later.", 503)
        if spent:
            yield Usage(
                spent[0].prompt_tokens,
                sum(each.completion_tokens for each in spent),
                min(each.cached_tokens for each in spent),
            )

    def _give_back(self, handover: Handover, count: int) -> None:
        self._running.discard(handover)
        self._slots.give_back(count)

    def _work(self, generation: Generation, handover: Handover) -> None:
        """In a thread: all of one answer."""
        server = self._server
        call: Callable[..., Any] = (
            server.handle_completions
            if generation.messages is None
            else server.handle_chat_completions
        )
        # What a callback raises is lost in its library.
        kept: list[BaseException] = []

        def take(chunk: dict[str, Any]) -> bool:
            try:
                handover.put(chunk)
            except BaseException as error:
                kept.append(error)
            return handover.closed or bool(kept)

        try:
            call(llama_wire.body(generation), take)
        except (ValueError, RuntimeError) as error:
            kept.append(_RefusedError(str(error)))
        except BaseException as error:
            kept.append(error)
        handover.end(kept[0] if kept else None)

    def _open(self) -> Any:
        settings = self._settings
        params = self._library.CommonParams()
        params.model.path = str(self._file)
        params.model_alias = {"model"}  # its own answers name the file's path otherwise
        params.n_parallel = settings.slots
        params.n_ctx = settings.context * settings.slots  # which it divides
        params.n_batch = params.n_ubatch = settings.batch
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
        params.cache_prompt = settings.reuse
        params.cache_ram_mib = 0  # up to 8 GiB of old prompts otherwise
        params.verbosity = -1
        params.ui = params.endpoint_slots = False
        params.n_threads_http = 1
        # It loads the model twice otherwise, first to see how much of it a GPU has room for.
        params.fit_params = self._has_gpu()
        for name, value in settings.own.items():
            if not hasattr(params, name):
                raise ValueError(f"the 'llama' settings have no {name}")
            setattr(params, name, value)
        # A socket in a folder of our own that is gone at once; the key is for a version that takes
        # the name for a host's.
        params.api_keys = [secrets.token_urlsafe(32)]
        with tempfile.TemporaryDirectory(prefix="llama-") as folder:
            params.hostnames = [os.path.join(folder, "closed.sock")]
            try:
                return self._library.Server(params)
            except (RuntimeError, ValueError) as error:
                raise ValueError(
                    f"{self._file.name} cannot be loaded as a GGUF model ({error})"
                ) from error

    def _has_gpu(self) -> bool:
        kinds = self._library.ggml_backend_dev_type
        gpus = (kinds.GGML_BACKEND_DEVICE_TYPE_GPU, kinds.GGML_BACKEND_DEVICE_TYPE_IGPU)
        return any(device["type"] in gpus for device in self._library.get_device_info())


def _about(error: RequestError, generation: Generation) -> RequestError:
    error.param = error.param or generation.input
    return error


class _RefusedError(RuntimeError):
    """What its call raised: before any text, what it says of the request."""
