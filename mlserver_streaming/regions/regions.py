"""All regions, by whose they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from ..access.callers import current
from ..errors import (
    BadRequestError,
    ForbiddenError,
    NoSuchRegionError,
    OverLimitError,
    RegionExistsError,
    UnsupportedError,
)
from ..settings import SharedMemorySettings
from .region import Region, check_name

Own = Callable[[], "CallerRegions"]
"""The regions of a call's caller; raises what `Regions.of` raises. Asked where a request names a
region, so that the others need not pay for it."""

OFF = "Shared memory is off here (the setting streaming.shared_memory); send the data themselves."


class Regions:
    """The regions that the service knows. Each belongs to the caller who registered it."""

    def __init__(self, settings: SharedMemorySettings):
        self._settings = settings
        self._owners: dict[str, dict[str, Region]] = {}

    @property
    def enabled(self) -> bool:
        return self._settings.enabled

    def of(self, is_local: bool) -> CallerRegions:
        """Those of the current caller.

        Args:
            is_local: whether it calls from this host.

        Raises:
            UnsupportedError: they are turned off.
            ForbiddenError: it calls from elsewhere.
        """
        if not self._settings.enabled:
            raise UnsupportedError(OFF)
        if not is_local:
            raise ForbiddenError(
                "Shared memory is for clients on the service's own host, which reach it at its "
                "loopback address."
            )
        return CallerRegions(self._settings, self._owners, current().identity)


class CallerRegions:
    """One caller's regions, by their names. Others' are as good as not there."""

    def __init__(
        self, settings: SharedMemorySettings, owners: dict[str, dict[str, Region]], owner: str
    ):
        self._settings = settings
        self._owners = owners
        self._owner = owner

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """
        Args:
            key: the file's name under /dev/shm, with or without a slash before it.
            offset: where the region begins in the file, in bytes.

        Raises:
            BadRequestError: there is no such file, or no such part of it.
            RegionExistsError: there is a region of this name.
            OverLimitError: there are too many, or too large ones.
        """
        check_name(name, "The region's name")
        if byte_size < 1 or offset < 0:
            raise BadRequestError(
                f"Region '{name}' must have 1 byte or more, from byte 0 of its file or a later one."
            )
        regions = self._owners.get(self._owner, {})
        # Whoever left without a word: their files are gone, and must not stay in memory.
        for gone in [each for each, region in regions.items() if region.is_gone]:
            self.unregister(gone)
        if name in regions:
            raise RegionExistsError(name)
        most, most_bytes = self._settings.regions_per_caller, self._settings.bytes_per_caller
        if len(regions) >= most:
            raise OverLimitError(f"You have {most} regions, as many as may be; unregister some.")
        if sum(region.byte_size for region in regions.values()) + byte_size > most_bytes:
            raise OverLimitError(
                f"With region '{name}' yours had more than {most_bytes} bytes; unregister some."
            )
        region = Region(name, key, offset, byte_size)
        self._owners.setdefault(self._owner, {})[name] = region

    def unregister(self, name: str = "") -> None:
        """Forget one, or all of them. What is at work with it goes on.

        A name that is not known is no error, as in Triton.
        """
        regions = self._owners.get(self._owner, {})
        if name:
            regions.pop(name, None)
        else:
            regions.clear()
        if not regions:
            self._owners.pop(self._owner, None)

    def status(self, name: str = "") -> list[Region]:
        """One, or all of them.

        Raises:
            NoSuchRegionError
        """
        return [self.find(name)] if name else list(self._owners.get(self._owner, {}).values())

    def find(self, name: str) -> Region:
        """
        Raises:
            NoSuchRegionError
        """
        found = self._owners.get(self._owner, {}).get(name)
        if found is None:
            raise NoSuchRegionError(name)
        return found


def no_cuda() -> NoReturn:
    """
    Raises:
        UnsupportedError: always.
    """
    raise UnsupportedError("CUDA shared memory is not supported; register system shared memory.")


def no_cuda_region(name: str) -> NoReturn:
    """
    Raises:
        NoSuchRegionError: always.
    """
    raise NoSuchRegionError(name)


def no_regions() -> CallerRegions:
    """The regions of a caller who has come by a wire that knows none.

    Raises:
        UnsupportedError: always.
    """
    raise UnsupportedError(OFF)
