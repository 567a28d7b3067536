"""A table of headers says what Starlette's own say."""

from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from mlserver_streaming.rest.header_table import HeaderTable

NAMES = st.sampled_from([b"a", b"b", b"content-encoding"])


@given(st.lists(st.tuples(NAMES, st.binary(max_size=3))), st.sampled_from(["a", "B", "A", "c"]))
def test_it_says_the_same(raw: list[tuple[bytes, bytes]], name: str):
    scope = {"type": "http", "headers": raw}
    table, headers = HeaderTable(scope), Headers(scope=scope)
    assert table.get(name) == headers.get(name)
    assert table.getlist(name) == headers.getlist(name)
    assert dict(table) == {each: headers[each] for each in headers}
