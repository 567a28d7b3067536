"""Which engine recognises, told by the model's settings.

engine        "moonshine", "pocketsphinx", or "ctc" where `parameters.uri` names an ONNX file
pocketsphinx  its own options: {"hmm": ..., "lm": ..., "dict": ...}
ctc           {"labels": "labels.txt"          beside the ONNX file, one a line,
               "blank": "last",                or a number
               "beam": 1,                      1 is greedy
               "features": {"mels": 64, ...}}  see mlserver_streaming/audio/features.py
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlserver_streaming.weights import find_weights

from .decoder_process import cores
from .pocketsphinx_engine import PocketsphinxEngine
from .recogniser import Engine

Setting = Callable[[str, Any], Any]


def make_engine(who: str, setting: Setting, uri: str | None) -> Engine:
    """The engine that the settings name.

    Args:
        who: the model, for the sentence that its weights are missing.
        setting: a setting by its name, or a default.
        uri: the acoustic model's file; None where the settings name none.

    Raises:
        ValueError: the settings make no sense, or name what is not there.
        ModuleNotFoundError: a library is not installed.
        MissingWeightsError: the engine's weights are not installed.
    """
    engine = setting("engine", "ctc" if uri else "moonshine")
    if engine == "moonshine":
        return _moonshine(who, setting)
    if engine == "pocketsphinx":
        if find_spec("pocketsphinx") is None:
            raise ModuleNotFoundError("No module named 'pocketsphinx'", name="pocketsphinx")
        workers, live = setting("workers", None), setting("live", None)
        return PocketsphinxEngine(dict(setting("pocketsphinx", {})), workers, live)
    if engine != "ctc":
        raise ValueError(f"engine must be 'moonshine', 'pocketsphinx' or 'ctc', not {engine!r}")
    if uri is None:
        raise ValueError("the engine 'ctc' needs 'parameters.uri', an ONNX file")
    return _ctc(Path(uri), dict(setting("ctc", {})), setting("workers", None))


def _moonshine(who: str, setting: Setting) -> Engine:
    from .moonshine_engine import LONGEST_SECONDS, MoonshineEngine

    longest = float(setting("longest_utterance_seconds", LONGEST_SECONDS))
    if longest > LONGEST_SECONDS:
        raise ValueError(
            f"the engine 'moonshine' hears utterances of {LONGEST_SECONDS:g} seconds at most; "
            f"longest_utterance_seconds is {longest:g}"
        )
    folder = find_weights(who, "moonshine-voice", "assets/tiny-en")
    return MoonshineEngine(folder, setting("workers", None), setting("live", None))


def _ctc(model: Path, settings: dict[str, Any], workers: int | None) -> Engine:
    from mlserver_streaming.audio.ctc import CtcDecoder, read_labels
    from mlserver_streaming.audio.features import LogMel

    from .ctc_engine import CtcEngine

    unknown = settings.keys() - {"labels", "blank", "beam", "features"}
    if unknown:
        raise ValueError(f"the 'ctc' settings have no {', '.join(sorted(unknown))}")
    file = model.parent / settings.get("labels", "labels.txt")
    try:
        labels = read_labels(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the labels file {file} cannot be read: {error}") from error
    blank = settings.get("blank", "last")
    decoder = CtcDecoder(
        labels, len(labels) if blank == "last" else int(blank), int(settings.get("beam", 1))
    )
    try:
        features = LogMel(**settings.get("features", {}))
    except TypeError as error:
        raise ValueError(f"the 'features' settings are wrong: {error}") from error
    return CtcEngine(model, features, decoder, workers or cores())
