"""vLLM's shorter dialect, for transcription alone. Pure.

As vLLM 0.22.1 documents it, and its example openai_realtime_client.py speaks it:
https://docs.vllm.ai/en/v0.22.1/api/vllm/entrypoints/speech_to_text/realtime/api_router/
https://docs.vllm.ai/en/latest/examples/speech_to_text/realtime/

    client   {"type": "session.update", "model", "language", "prompt"}, first of all
             {"type": "input_audio_buffer.commit"}: it begins
             {"type": "input_audio_buffer.append", "audio"}: 16 kHz, mono, 16 bits, in base64
             {"type": "input_audio_buffer.commit", "final": true}: no more sound comes
    server   {"type": "session.created", "id", "created"}
             {"type": "transcription.delta", "delta"}
             {"type": "transcription.done", "text", "usage"}
             {"type": "error", "error": "a sentence", "code"}
"""

from __future__ import annotations

from dataclasses import replace

from ...errors import MLServerError
from ..errors import error_object
from ..fields import Fields
from .config import Config
from .events import Event
from .sound import PCM_16


def speaks_vllm(event: Fields) -> bool:
    """Whether a client's first event is of this dialect: OpenAI's has its settings in `session`."""
    said = event.all
    return said.get("type") == "session.update" and "session" not in said and "model" in said


def updated(config: Config, event: Fields) -> Config:
    """What a session of this dialect is set to by `session.update`.

    Raises:
        FieldError: a field is wrong.
    """
    changes = {
        name: event.text(name) for name in ("language", "prompt") if event.all.get(name) is not None
    }
    model = event.needed_text("model")
    return replace(config, model=model, format=PCM_16, detection=None, **changes)


class VllmWriter:
    """An `events.Writer`: it tells of text, and of nothing else."""

    def updated(self, config: Config) -> list[Event]:
        return []

    def started(self, item: str, at_ms: int) -> list[Event]:
        return []

    def stopped(self, item: str, at_ms: int) -> list[Event]:
        return []

    def committed(self, item: str) -> list[Event]:
        return []

    def delta(self, item: str, text: str) -> list[Event]:
        return [{"type": "transcription.delta", "delta": text}]

    def completed(self, item: str, text: str, seconds: float) -> list[Event]:
        # vLLM counts tokens there, and no model here says how many there were.
        return [{"type": "transcription.done", "text": text, "usage": None}]

    def failed(self, item: str, error: MLServerError) -> list[Event]:
        return self.error(error)

    def cleared(self) -> list[Event]:
        return []

    def error(self, error: MLServerError, culprit: str | None = None) -> list[Event]:
        code = error_object(error.status_code, str(error), error)["code"]
        return [{"type": "error", "error": str(error), "code": code}]
