"""A stand-in for speech-model, written for stock MLServer: each sample but 0 is a word of its own,
and 0 is a pause. Some say what the model was told, or fail."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.errors import MLServerError
from mlserver.types import InferenceRequest, InferenceResponse, Parameters

PAUSE, RATE, LANGUAGE, SILENCE, FAIL_ONE, FAIL, CRASH, WAIT, HEADERS = range(9)


class Scribe(MLModel):
    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        told, words, utterance, at, begun = {}, [], 0, 0, 0
        async for payload in payloads:
            told = told | dict(payload.parameters.model_extra)
            for sample in map(int, payload.inputs[0].data.root):
                at += 1
                if sample == PAUSE:
                    if words:
                        yield self._said(words, True, utterance, begun, at - 1, told)
                        words, utterance = [], utterance + 1
                    continue
                if sample == FAIL_ONE:
                    yield self._failure()
                    continue
                if sample == FAIL:
                    raise MLServerError("It is too loud here.", 422)
                if sample == CRASH:
                    raise ValueError("not for callers")
                if sample == WAIT:
                    while not Path("gate").exists():  # noqa: ASYNC110, ASYNC240
                        await asyncio.sleep(0.01)
                if not words:
                    begun = at - 1
                words.append(self._word(sample, told, payload))
            if words:
                yield self._said(words, False, utterance, begun, at, told)
        if words:
            yield self._said(words, True, utterance, begun, at, told)

    def _word(self, sample, told, payload):
        return {
            RATE: f"{told['sample_rate']}Hz",
            LANGUAGE: str(told.get("language")),
            SILENCE: str(told.get("silence_duration_ms")),
            HEADERS: ",".join(sorted(payload.parameters.headers)),
        }.get(sample, f"w{sample}")

    def _said(self, words, final, utterance, begun, end, told):
        rate = told["sample_rate"]
        said = {"final": final, "utterance": utterance, "start": begun / rate, "end": end / rate}
        return InferenceResponse(
            model_name=self.name,
            outputs=[StringCodec.encode_output("transcript", [" ".join(words)])],
            parameters=Parameters(**said),
        )

    def _failure(self):
        failed = Parameters(error="This was not heard.", error_code=422)
        return InferenceResponse(model_name=self.name, outputs=[], parameters=failed)
