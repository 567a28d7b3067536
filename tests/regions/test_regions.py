"""Whose regions there are, how many, and who may have any."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mlserver_streaming.access.callers import ANYBODY, Caller, set_current
from mlserver_streaming.errors import (
    BadRequestError,
    ForbiddenError,
    NoSuchRegionError,
    OverLimitError,
    RegionExistsError,
    UnsupportedError,
)
from mlserver_streaming.regions.regions import CallerRegions, Regions
from mlserver_streaming.settings import SharedMemorySettings
from mlserver_streaming.tensors.steps import finish
from tests.regions.files import MakeFile
from tests.regions.test_region import open_files


def regions(**settings: int) -> Regions:
    return Regions(SharedMemorySettings(enabled=True, **settings))


@contextmanager
def called_by(name: str) -> Iterator[None]:
    set_current(Caller(name, frozenset({"infer"})))
    try:
        yield
    finally:
        set_current(ANYBODY)


def names(own: CallerRegions) -> list[str]:
    return [region.name for region in own.status()]


def test_they_are_off_unless_a_setting_says_so() -> None:
    with pytest.raises(UnsupportedError, match=r"^Shared memory is off here .* send the data"):
        Regions(SharedMemorySettings()).of(is_local=True)


def test_nobody_on_another_host_has_any() -> None:
    with pytest.raises(ForbiddenError, match="clients on the service's own host"):
        regions().of(is_local=False)


def test_registered_told_of_and_forgotten(make_file: MakeFile) -> None:
    own, path = regions().of(is_local=True), make_file(bytes(100))
    own.register("a", f"/{path.name}", 10, 90)
    own.register("b", path.name, 0, 100)
    (told,) = own.status("a")
    assert (told.name, told.key, told.offset, told.byte_size) == ("a", f"/{path.name}", 10, 90)
    assert names(own) == ["a", "b"]
    own.unregister("a")
    own.unregister("never registered")
    assert names(own) == ["b"]
    own.unregister()
    assert own.status() == []
    with pytest.raises(NoSuchRegionError, match="You have no region 'a'; register it first"):
        own.status("a")


def test_another_caller_s_regions_are_not_there(make_file: MakeFile) -> None:
    all_of_them, path = regions(), make_file(bytes(8))
    with called_by("ann"):
        all_of_them.of(is_local=True).register("r", path.name, 0, 8)
    with called_by("bob"):
        own = all_of_them.of(is_local=True)
        assert own.status() == []
        with pytest.raises(NoSuchRegionError):
            own.find("r")
        own.unregister()
        own.register("r", path.name, 4, 4)
        assert own.find("r").offset == 4
    with called_by("ann"):
        assert all_of_them.of(is_local=True).find("r").offset == 0


def test_a_name_is_registered_once(make_file: MakeFile) -> None:
    own, path = regions().of(is_local=True), make_file(bytes(8))
    own.register("r", path.name, 0, 8)
    for key in (path.name, make_file(bytes(8)).name):
        with pytest.raises(RegionExistsError, match="unregister it, or take another name"):
            own.register("r", key, 0, 8)


@pytest.mark.parametrize("name", ["", "a/b", "/a", "..", "a.b", "a b", "\n"])
def test_a_name_has_no_slash_and_no_dot(name: str, make_file: MakeFile) -> None:
    with pytest.raises(BadRequestError, match=r"^The region's name '.*' is not one"):
        regions().of(is_local=True).register(name, make_file(b"x").name, 0, 1)


@pytest.mark.parametrize(("offset", "size"), [(0, 0), (0, -1), (-1, 1)])
def test_a_region_has_a_size(offset: int, size: int, make_file: MakeFile) -> None:
    with pytest.raises(BadRequestError, match="must have 1 byte or more"):
        regions().of(is_local=True).register("r", make_file(b"x").name, offset, size)


def test_ten_thousand_registrations_open_so_many_files_as_may_be(make_file: MakeFile) -> None:
    own, path = regions().of(is_local=True), make_file(bytes(8))
    before = open_files()
    refused = 0
    for number in range(10_000):
        try:
            own.register(f"r{number}", path.name, 0, 8)
        except OverLimitError as error:
            assert str(error) == "You have 64 regions, as many as may be; unregister some."
            refused += 1
    assert refused == 10_000 - 64
    assert open_files() == before + 64
    own.unregister()
    assert open_files() == before


def test_a_caller_s_bytes_are_bounded(make_file: MakeFile) -> None:
    own = regions(bytes_per_caller=1024).of(is_local=True)
    path = make_file(bytes(2048))
    own.register("a", path.name, 0, 1000)
    with pytest.raises(OverLimitError, match="'b' yours had more than 1024 bytes"):
        own.register("b", path.name, 0, 25)
    own.register("b", path.name, 0, 24)


def test_regions_of_files_that_were_removed_take_no_room(make_file: MakeFile) -> None:
    own = regions(regions_per_caller=1).of(is_local=True)
    gone, path = make_file(bytes(8)), make_file(bytes(8))
    own.register("r", gone.name, 0, 8)
    gone.unlink()
    own.register("r", path.name, 0, 8)
    assert names(own) == ["r"]


def test_who_holds_a_region_goes_on_when_it_is_unregistered(make_file: MakeFile) -> None:
    own = regions().of(is_local=True)
    own.register("r", make_file(b"content").name, 0, 7)
    held = own.find("r")
    own.unregister("r")
    assert finish(held.read(0, 7)) == b"content"
    with pytest.raises(NoSuchRegionError):
        own.find("r")
