"""Whose request it is."""

from types import SimpleNamespace

import pytest

from mlserver_streaming.rest.dialect import dialect_of

MINE = SimpleNamespace(prefix="/v1")


@pytest.mark.parametrize(
    ("path", "root_path", "found"),
    [
        ("/v1", "", MINE),
        ("/v1/models", "", MINE),
        ("/base/v1/models", "/base", MINE),
        ("/v1x/models", "", None),
        ("/v2/v1/models", "", None),
        ("/", "", None),
    ],
)
def test_a_dialect_has_what_lies_under_its_prefix(path, root_path, found):
    app = SimpleNamespace(state=SimpleNamespace(dialects=(MINE,)))
    assert dialect_of({"path": path, "root_path": root_path, "app": app}) is found


def test_a_server_without_dialects_has_none():
    app = SimpleNamespace(state=SimpleNamespace())
    assert dialect_of({"path": "/v1/models", "app": app}) is None
