"""A model that streams: the words of a prompt in capitals, one response each."""

import asyncio

from mlserver_streaming.models import StreamingModel, text_elements


class MyModel(StreamingModel):
    async def load(self):
        self.pause = self.setting("pause", 0.2)  # seconds; "extra" in model-settings.json
        return True

    async def respond(self, request, sequence):
        (prompt,) = text_elements(self.input(request, "prompt"))
        for word in prompt.split():
            await asyncio.sleep(self.pause)  # where a real model would compute
            yield self.text_response(request, "output", word.upper() + " ")
