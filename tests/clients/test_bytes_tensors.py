import pytest

from clients.bytes_tensors import pack, unpack
from clients.errors import ProtocolError


@pytest.mark.parametrize("elements", [[], [b""], [b"abc"], [b"", b"a" * 300, b""]])
def test_there_and_back(elements):
    assert unpack(pack(elements), "output") == elements


def test_an_element_stands_behind_its_length():
    assert pack([b"abc", b""]) == b"\x03\0\0\0abc\0\0\0\0"


@pytest.mark.parametrize("cut", range(1, 11))
def test_contents_that_are_cut_anywhere_but_between_elements(cut):
    whole = pack([b"abc", b""])
    if cut == 7:
        assert unpack(whole[:cut], "output") == [b"abc"]
        return
    with pytest.raises(ProtocolError, match="output 'output' is shorter than it says"):
        unpack(whole[:cut], "output")
