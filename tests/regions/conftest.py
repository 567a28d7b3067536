from collections.abc import Iterator

import pytest

from tests.regions.files import MakeFile, files


@pytest.fixture
def make_file() -> Iterator[MakeFile]:
    with files() as make:
        yield make
