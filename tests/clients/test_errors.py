from clients.errors import ClientError, FrameError, ItemError, RefusedError


def test_every_error_is_one_line():
    assert str(ClientError("first\n  second\r\nthird ")) == "first second third"


def test_a_refusal_tells_the_status():
    error = RefusedError("no such model", 404)
    assert (str(error), error.status) == ("the server answered 404: no such model", 404)


def test_a_failed_item_tells_its_code_where_there_is_one():
    assert str(ItemError("not a JPEG", 422)) == "not a JPEG (error 422)"
    assert str(FrameError("not a JPEG")) == "not a JPEG"
