"""What a model's settings say of the cache: `parameters.extra` in its model-settings.json."""

from dataclasses import dataclass

from mlserver import MLModel

IGNORES, INDEPENDENT = "cache_ignores", "cache_requests_independent"
IDLE_SECONDS = "sequence_idle_seconds"
FAILED_REFRESH_REMOVES = "cache_failed_refresh_removes"


@dataclass(frozen=True, slots=True)
class Declared:
    """What a model says of its answers.

    Attributes:
        ignores: names of request parameters that do not change them.
        independent: whether each request is answered the same, whatever came before it in its
            stream or sequence.
        failed_refresh_removes: whether a refresh that fails removes the answer that is stored.
        idle_seconds: of silence after which it gives a sequence up; None where it does not say.
    """

    ignores: frozenset[str] = frozenset()
    independent: bool = False
    failed_refresh_removes: bool = False
    idle_seconds: float | None = None

    @classmethod
    def by(cls, model: MLModel) -> "Declared":
        parameters = model.settings.parameters
        if parameters is None:
            return cls()
        extra = parameters.extra or {}
        ignores = extra.get(IGNORES) or ()
        # The service's own default stands beside `extra`.
        idle = extra.get(IDLE_SECONDS, (parameters.model_extra or {}).get(IDLE_SECONDS))
        return cls(
            frozenset(map(str, ignores if isinstance(ignores, list | tuple) else [ignores])),
            extra.get(INDEPENDENT) is True,
            extra.get(FAILED_REFRESH_REMOVES) is True,
            idle if isinstance(idle, int | float) else None,
        )
