"""What a session is set to, and how it is said: now nested, before flat; both are read. Pure.

https://platform.openai.com/docs/api-reference/realtime-client-events/session/update
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from ..errors import FieldError
from ..fields import Fields
from .sound import A_LAW, FORMATS, MU_LAW, PCM, PCM_24, Format

TRANSCRIPTION, SERVER_VAD = "transcription", "server_vad"
ONLY_TRANSCRIPTION = (
    "Only transcription is spoken here: give the session the type 'transcription', and ask for no "
    "responses."
)


@dataclass(frozen=True, slots=True)
class Detection:
    """How the model finds where one speaks; what is None is as the model has it."""

    threshold: float | None = None
    prefix_padding_ms: int | None = None
    silence_duration_ms: int | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Config:
    """A session's settings.

    Attributes:
        model: who hears; None until it is named.
        language, prompt: what the model is told.
        detection: None where the client says itself when a turn is over.
    """

    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    format: Format = PCM_24
    detection: Detection | None = Detection()

    @property
    def parameters(self) -> dict[str, Any]:
        """Of the first V2 request of a recording."""
        told = {"language": self.language, "prompt": self.prompt}
        detection = {} if self.detection is None else self.detection.parameters
        return {name: value for name, value in told.items() if value} | detection


def updated(config: Config, session: Fields) -> Config:
    """A session's settings with those changed that an update names.

    Raises:
        FieldError: it is no session for transcription, or a field is wrong.
    """
    if session.text("type") not in (None, TRANSCRIPTION):
        raise FieldError(ONLY_TRANSCRIPTION, session.path("type"))
    audio = session.object("audio")
    nested = audio.object("input") if audio is not None else None
    config = _flat(config, session)
    return config if nested is None else _nested(config, nested)


def session_object(config: Config, session_id: str) -> dict[str, Any]:
    """As sessions are told of now."""
    return {
        "type": TRANSCRIPTION,
        "object": "realtime.transcription_session",
        "id": session_id,
        "audio": {
            "input": {
                "format": dict(config.format.object),
                "transcription": _transcription_object(config),
                "noise_reduction": None,
                "turn_detection": _detection_object(config.detection),
            }
        },
    }


def flat_session_object(config: Config, session_id: str) -> dict[str, Any]:
    """As they were told of before."""
    return {
        "object": "realtime.transcription_session",
        "id": session_id,
        "input_audio_format": config.format.name,
        "input_audio_transcription": _transcription_object(config),
        "input_audio_noise_reduction": None,
        "turn_detection": _detection_object(config.detection),
    }


def _nested(config: Config, found: Fields) -> Config:
    if (form := found.object("format")) is not None:
        config = replace(config, format=_format(form))
    config = _transcription(config, found, "transcription")
    return _detection(config, found)


def _flat(config: Config, found: Fields) -> Config:
    names = (PCM_24.name, MU_LAW.name, A_LAW.name)
    if (name := found.one_of("input_audio_format", names)) is not None:
        form = next(each for each in FORMATS if each.name == name)
        config = replace(config, format=form)
    config = _transcription(config, found, "input_audio_transcription")
    return _detection(config, found)


def _format(found: Fields) -> Format:
    kinds = tuple(dict.fromkeys(dict(each.object)["type"] for each in FORMATS))
    kind = found.one_of("type", kinds) or PCM
    of_kind = [each for each in FORMATS if dict(each.object)["type"] == kind]
    rate = found.all.get("rate")
    for each in of_kind:
        if rate is None or rate == each.rate:
            return each
    found.wrong("rate", f"{' or '.join(str(each.rate) for each in of_kind)} for {kind}")


def _transcription(config: Config, found: Fields, name: str) -> Config:
    if (said := found.object(name)) is None:
        return config
    for field in ("model", "language", "prompt"):
        if field in said.all:
            change: dict[str, Any] = {field: said.text(field)}
            config = replace(config, **change)
    return config


def _detection(config: Config, found: Fields) -> Config:
    if "turn_detection" not in found.all:
        return config
    said = found.object("turn_detection")
    if said is None:
        return replace(config, detection=None)
    if said.all.get("type") not in (None, SERVER_VAD):
        said.wrong("type", f"{SERVER_VAD}, or 'turn_detection' null")
    changes: dict[str, Any] = {
        "threshold": said.number("threshold", 0.05, 0.95),
        "prefix_padding_ms": said.integer("prefix_padding_ms", 0, 1000),
        "silence_duration_ms": said.integer("silence_duration_ms", 100, 5000),
    }
    known = {name: value for name, value in changes.items() if value is not None}
    return replace(config, detection=replace(config.detection or Detection(), **known))


def _transcription_object(config: Config) -> dict[str, Any] | None:
    if config.model is None:
        return None
    said = {"language": config.language, "prompt": config.prompt}
    return {"model": config.model} | {name: text for name, text in said.items() if text}


def _detection_object(detection: Detection | None) -> dict[str, Any] | None:
    return None if detection is None else {"type": SERVER_VAD, **detection.parameters}
