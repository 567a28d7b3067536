"""A stream that another instance runs, read here through the store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from ..errors import (
    ForgottenError,
    MovedError,
    NoSuchStreamError,
    StoreLostError,
)
from ..recordings.packing import unpack
from ..recordings.recorded import Recorded
from ..recordings.recording import MalformedError, decode
from ..settings import ResumeSettings
from .endings import error_of
from .head import Head
from .run import Run, Shared
from .store import GoneError, Kept, LeftBehindError, Part, Store, StoreError, UnheldError

# How long it is followed, and kept, without a reader: whoever comes back later follows it anew.
IDLE_SECONDS = 5.0


class Mirror(Run):
    """Its work is to follow the store; else it is as any other run."""

    def __init__(
        self,
        head: Head,
        settings: ResumeSettings,
        shared: Shared,
        store: Store,
        kept: Kept,
        cancel: Callable[[], None],
    ) -> None:
        """
        Args:
            cancel: has the stream cancelled where it runs.
        """
        idle = {"seconds_without_reader": IDLE_SECONDS, "seconds_kept": IDLE_SECONDS}
        super().__init__(head, settings.model_copy(update=idle), shared, said=kept.first - 1)
        self._store, self._kept, self._cancel_there = store, kept, cancel
        self.began_elsewhere = True
        self.start(self._follow)

    def call_off(self) -> None:
        self._cancel_there()
        super().call_off()

    def _out_of_time(self) -> None:
        # It is not the stream that ends.
        self.forget()
        super()._out_of_time()

    async def _follow(self, run: Run) -> None:
        head, kept = self.head, self._kept
        try:
            # What is known to be there comes first, and at once.
            await self._take(self._store.read(head.id, self.log.last, kept.last))
            await self._take(self._store.follow(head.id, head.owner, self.log.last))
        except UnheldError:
            # Who comes back finds whoever goes on with it.
            self.forget()
            raise MovedError() from None
        except LeftBehindError as error:
            raise ForgottenError(self.log.last, error.first, head.id) from None
        except (GoneError, MalformedError):
            self.forget()
            raise NoSuchStreamError(head.id) from None
        except StoreError as error:
            self.forget()
            raise StoreLostError() from error

    async def _take(self, parts: AsyncGenerator[Part, None]) -> None:
        async with aclosing(parts):
            async for part in parts:
                for record in records_behind(part, self.log.last):
                    if not self.add(record):
                        await self.room()
                if part.ending is not None and (error := error_of(part.ending)) is not None:
                    raise error


def records_behind(part: Part, number: int) -> list[Recorded]:
    """The responses of a part that come after one.

    Raises:
        MalformedError
    """
    if not part.count:
        return []
    records = [record for chunk in unpack(memoryview(part.chunk)) for record in decode(chunk)]
    if len(records) != part.count:
        raise MalformedError("not as many responses as it says")
    return records[number - part.after :]
