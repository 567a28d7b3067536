"""The prompts of one stream: which have no answer yet, and go to another call when theirs ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable

from .lasting_source import LastingSource


class Unanswered:
    """Prompts with the ids "0", "1", ..., each kept until something of its answer is there.

    Nothing on the wire says that an answer is whole. It counts as whole once the next one begins;
    where answers come mixed, only at the stream's end.
    """

    def __init__(self, prompts: Iterable[str] | AsyncIterable[str]) -> None:
        self._prompts = LastingSource(prompts)
        self._count = 0
        self._waiting: dict[str, str] = {}
        self._begun: dict[str, None] = {}
        self._mixed = False

    @property
    def is_empty(self) -> bool:
        """Whether no prompt is left to be asked."""
        return self._prompts.is_over and not self._waiting

    async def to_ask(self) -> AsyncGenerator[tuple[str, str], None]:
        """Ids and prompts: those that have no answer, then new ones."""
        for request_id, prompt in list(self._waiting.items()):
            if request_id in self._waiting:
                yield request_id, prompt
        async for prompt in self._prompts:
            request_id = str(self._count)
            self._count += 1
            self._waiting[request_id] = prompt
            yield request_id, prompt

    def answered(self, request_id: str) -> None:
        """A response came."""
        self._waiting.pop(request_id, None)
        if request_id not in self._begun:
            if not self._mixed:
                self._begun.clear()
            self._begun[request_id] = None
        elif request_id != next(reversed(self._begun)):
            self._mixed = True

    def cut(self) -> list[str]:
        """The call ended too early: the ids of the answers that may not be whole."""
        cut = list(self._begun)
        self._begun.clear()
        return cut

    async def aclose(self) -> None:
        await self._prompts.aclose()
