"""A stream that outlived its connection, read on over a socket."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from mlserver.types import InferenceResponse

from ..resume.position import Position
from ..resume.run import Run
from ..resume.runs import Runs
from ..streams.data_plane import StreamingDataPlane
from .forms import Form, form_kept


class Rest:
    """What its client has yet to hear: a `streams.wire.Rest`."""

    def __init__(
        self, data_plane: StreamingDataPlane, place: str, model_name: str, form: Form
    ) -> None:
        """
        Args:
            model_name, form: of the answer where there is no such stream.

        Raises:
            BadRequestError: the place is none.
        """
        self._runs: Runs = data_plane.resume
        self._position = Position.read(place)
        self.model_name, self.form = model_name, form

    @property
    def stream(self) -> str:
        """The stream's id."""
        return self._position.stream

    async def open(self) -> tuple[Run, AsyncGenerator[InferenceResponse, None]]:
        run = await self._runs.find(self._position.stream)
        self.model_name, self.form = run.head.model, form_kept(run.head.form)
        return run, (await self._runs.resume(self._position)).with_ids()

    async def cancel(self) -> None:
        await self._runs.cancel(self.stream)
