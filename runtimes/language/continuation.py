"""An answer that broke off, gone on with: what is asked of an engine for the rest. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from mlserver.types import InferenceResponse

from mlserver_streaming.models.errors import MLServerError
from mlserver_streaming.models.tensors import text_elements

from .generation import Generation

WHOLE = MLServerError("This answer cannot be gone on with from its middle; ask again.", 503)


def continued(generation: Generation, responses: Sequence[InferenceResponse]) -> Generation | None:
    """The generation whose answer is the rest, of no token where all were said but not the reason;
    None where the answer has ended.

    Engines go on behind an assistant's message that is the last one. What was said counts as a
    token a response, which llama.cpp makes of most.

    Raises:
        MLServerError: several choices, tools or a grammar: where these were is not known.
    """
    if not responses:
        return generation
    if generation.n > 1 or generation.tools or generation.response_format:
        raise WHOLE
    said = "".join(
        text
        for response in responses
        for output in response.outputs
        for text in text_elements(output)
    )
    parameters = responses[-1].parameters
    ended = parameters is not None and "finish_reason" in (parameters.model_extra or {})
    if ended:
        return None
    left = max(generation.max_tokens - len(responses), 0)
    if generation.messages is None:
        return replace(generation, prompt=generation.prompt + said, max_tokens=left)
    messages = [*generation.messages, {"role": "assistant", "content": said}]
    return replace(generation, messages=messages, max_tokens=left, continues=True)
