"""The store that the settings name, opened."""

from __future__ import annotations

import sys

from ..extras import MissingExtraError, needed_by
from ..secret import password_of, secret_of
from ..streams.data_plane import StreamingDataPlane
from .runs import Runs
from .seal import Seal
from .sharing import Sharing


def share(runs: Runs, data_plane: StreamingDataPlane, folder: str) -> None:
    """Have all instances' streams in one store, where the settings name one.

    Args:
        folder: where the settings' relative paths begin.

    Raises:
        SystemExit: there is no client for it, or the secret or the password cannot be read.
    """
    settings = data_plane.streaming.resume
    store = settings.store
    if store.url is None:
        return
    try:
        with needed_by("streaming.resume.store", "store"):
            from .redis_link import RedisLink
            from .redis_store import RedisStore
    except MissingExtraError as error:
        sys.exit(str(error))
    figures = runs.figures.store
    link = RedisLink(
        store.url.get_secret_value(),
        store.timeout_seconds,
        store.retry_seconds,
        figures,
        password_of(store, folder),
    )
    link.watch()
    seconds = max(settings.seconds_without_reader, settings.seconds_kept)
    runs.sharing = Sharing(
        RedisStore(
            link,
            Seal(secret_of(store, folder, "store")),
            lease_seconds=store.lease_seconds,
            seconds=seconds + store.lease_seconds,
            stream_bytes=settings.bytes,
        ),
        data_plane,
        settings,
        runs,
        figures,
    )
