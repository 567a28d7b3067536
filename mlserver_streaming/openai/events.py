"""An answer that is written already, sent within its call."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import MLServerError
from ..rest.answer import cut_off, send_answer
from ..streams.headers import fields_of


class WholeResponse(Response):
    """Sends a body; its call goes on until it is sent."""

    def __init__(
        self,
        content: bytes,
        kind: str,
        named: Mapping[str, str],
        call: AsyncExitStack,
        touch: Callable[[], None],
    ):
        """
        Args:
            kind: the media type.
            named: more headers.
            touch: told of each piece that leaves.
        """
        super().__init__()
        self._content, self._kind, self._named = content, kind, named
        self._call, self._touch = call, touch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self._call:
                fields = [*fields_of(self._named), (b"content-type", self._kind.encode())]
                await send_answer(scope, receive, send, [self._content], fields, self._touch)
        except MLServerError:
            await cut_off(scope, send)
