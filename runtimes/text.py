"""TextModel: a prompt in, its words out one by one, as a language model would send tokens."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sized
from functools import partial

from mlserver.types import InferenceRequest, InferenceResponse

from mlserver_streaming.models.parameters import number
from mlserver_streaming.models.sequences import Sequence
from mlserver_streaming.models.streaming_model import StreamingModel
from mlserver_streaming.models.tensors import text_elements

DEFAULT_DELAY = 0.5  # seconds before each word
MAX_DELAY = 10.0
# Of a prompt, cut into words at once.
PIECE_CHARACTERS = 8192


class TextModel(StreamingModel):
    """Splits prompts at single spaces.

    Input `prompt` BYTES [n]; output `output` BYTES [1], one word a response, every word but a
    prompt's first with the space before it: joined, the responses are the prompt again.

    Request parameter `delay`: seconds before each word, 0 to 10 (setting `delay`, 0.5).
    Response parameter `prompt_index`: which prompt of several the word belongs to.
    """

    async def load(self) -> bool:
        self._delay = float(self.setting("delay", DEFAULT_DELAY))
        return True

    async def respond(
        self, request: InferenceRequest, sequence: Sequence | None, said: int = 0
    ) -> AsyncIterator[InferenceResponse]:
        delay = number(request, "delay", self._delay, 0, MAX_DELAY)
        prompts = text_elements(self.input(request, "prompt"))
        for index, prompt in enumerate(prompts):
            told = {"prompt_index": index} if len(prompts) > 1 else {}
            answer = partial(self.text_response, request, "output", **told)
            for word in words(prompt):
                if said:
                    said -= 1
                    continue
                if delay:
                    await asyncio.sleep(delay)
                yield answer(word)

    def resume_from(
        self, request: InferenceRequest, responses: Sized
    ) -> AsyncIterator[InferenceResponse]:
        """The words behind those that were said."""
        return self.respond(request, None, len(responses))


def words(prompt: str) -> Iterator[str]:
    """`prompt` cut before each single space; `"".join(words(prompt)) == prompt`, always.

    Piece by piece: a list of them all takes thirty times the memory of the prompt.
    """
    space = -1  # the one before the words to come
    while space < len(prompt):
        end = prompt.find(" ", space + 1 + PIECE_CHARACTERS)
        end = len(prompt) if end < 0 else end
        first, *rest = prompt[space + 1 : end].split(" ")
        yield first if space < 0 else " " + first
        yield from [" " + word for word in rest]
        space = end
