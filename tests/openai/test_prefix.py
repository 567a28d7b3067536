"""Where the routes stand."""

import pytest
from pydantic import ValidationError

from mlserver_streaming.settings import OpenAISettings


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1", "/a-b/c.d", None])
def test_what_may_stand_before_the_routes(prefix):
    assert OpenAISettings(prefix=prefix).prefix == prefix


@pytest.mark.parametrize("prefix", ["", "/", "v1", "/v1/", "//v1", "/v2", "/v2/models", "/{x}", 1])
def test_what_may_not(prefix):
    with pytest.raises(ValidationError):
        OpenAISettings(prefix=prefix)
