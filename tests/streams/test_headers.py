"""Headers made of what callers sent are bounded, each and together."""

from mlserver.types import InferenceResponse, Parameters

from mlserver_streaming.streams.headers import (
    MAX_HEADER_CHARACTERS,
    MAX_HEADERS_CHARACTERS,
    headers_of,
)


def response(**headers):
    return InferenceResponse(
        model_name="m", outputs=[], parameters=Parameters(headers=headers) if headers else None
    )


def test_short_ones_are_kept_as_text_and_long_ones_dropped():
    assert headers_of(response()) == {}
    given = {"Ce-Id": "x" * 7000, "Ce-Type": 17, "limit": "x" * (MAX_HEADER_CHARACTERS - 5)}
    assert headers_of(response(**given)) == {"Ce-Type": "17", "limit": given["limit"]}


def test_all_together_have_a_bound_too():
    found = headers_of(response(**{f"header-{number}": "x" * 500 for number in range(100)}))
    assert 0 < sum(map(len, found.values())) <= MAX_HEADERS_CHARACTERS


def test_how_a_message_travels_is_no_models_to_say():
    given = {"Content-Length": "139", "transfer-encoding": "chunked", "Host": "a", "a\r\nb": "c"}
    assert headers_of(response(**given, **{"X-Mine": "1"})) == {"X-Mine": "1"}
