"""MLServer's pools, one for each Python environment, that are closed only after the drain."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable

from mlserver import MLModel
from mlserver.parallel.pool import InferencePoolHook
from mlserver.parallel.registry import InferencePoolRegistry
from mlserver.registry import MultiModelRegistry
from mlserver.settings import ModelSettings, Settings


class StreamingPools(InferencePoolRegistry):
    """All pools.

    Attributes:
        before_close: what must be over before the workers may end.
    """

    def __init__(self, settings: Settings, on_worker_stop: list[InferencePoolHook] | None = None):
        try:
            os.makedirs(settings.environments_dir, exist_ok=True)
        except OSError as error:
            sys.exit(
                f"The folder {settings.environments_dir} cannot be made ({error.strerror}); name "
                "another as environments_dir."
            )
        super().__init__(settings, on_worker_stop=on_worker_stop or [])
        # MLServer's handler takes the exit status of every child process, sees one of several that
        # end at once, and lets those go that end with status 0. Each pool watches its own workers.
        self._restore_handler()
        self.before_close: list[Callable[[], Awaitable[None]]] = []
        self._closing: asyncio.Future[None] | None = None

    def model_initialiser(self, model_settings: ModelSettings) -> MLModel:
        """As MLServer does for an `environment_tarball`, and not for an `environment_path`: what is
        installed there cannot be imported in this process."""
        parameters = model_settings.parameters
        if parameters and parameters.environment_path and self._should_load_model(model_settings):
            return MLModel(model_settings)
        return super().model_initialiser(model_settings)

    async def close(self) -> None:
        """MLServer closes the pools first when it stops; the streams in them go on until the drain
        is over. Called again, by a second signal, it ends the drain."""
        for wait in self.before_close:
            await wait()
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await super().close()  # type: ignore[no-untyped-call]

    def _restore_handler(self) -> None:
        if self._original_sigchld_handler is None:  # not one of Python's
            self._original_sigchld_handler = signal.SIG_DFL
        signal.signal(signal.SIGCHLD, self._original_sigchld_handler)


def pools_of(registry: MultiModelRegistry) -> StreamingPools | None:
    """The pools that a registry loads its models into; None where they are in this process."""
    owner = getattr(registry._model_initialiser, "__self__", None)
    return owner if isinstance(owner, StreamingPools) else None
