"""What a model's settings say of the cache: `parameters.extra` in its model-settings.json."""

from dataclasses import dataclass

from mlserver import MLModel

IGNORES, INDEPENDENT = "cache_ignores", "cache_requests_independent"


@dataclass(frozen=True, slots=True)
class Declared:
    """What a model says of its answers.

    Attributes:
        ignores: names of request parameters that do not change them.
        independent: whether each request is answered the same, whatever came before it in its
            stream or sequence.
    """

    ignores: frozenset[str] = frozenset()
    independent: bool = False

    @classmethod
    def by(cls, model: MLModel) -> "Declared":
        parameters = model.settings.parameters
        extra = (parameters and parameters.extra) or {}
        ignores = extra.get(IGNORES) or ()
        return cls(
            frozenset(map(str, ignores if isinstance(ignores, list | tuple) else [ignores])),
            extra.get(INDEPENDENT) is True,
        )
