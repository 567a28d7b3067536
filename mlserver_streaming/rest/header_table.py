"""A request's headers as a table."""

from starlette.types import Scope


class HeaderTable(dict[str, str]):
    """By their names in lower case; of one that is there twice, the first, as in Starlette's
    `Headers`, which go through all of them for each look."""

    __slots__ = ("_raw",)

    def __init__(self, scope: Scope):
        self._raw: list[tuple[bytes, bytes]] = scope["headers"]
        super().__init__(
            [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in reversed(self._raw)
            ]
        )

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        return super().get(name.lower(), default)

    def getlist(self, name: str) -> list[str]:
        """All of one name, in their order."""
        wanted = name.lower().encode("latin-1")
        return [value.decode("latin-1") for given, value in self._raw if given == wanted]
