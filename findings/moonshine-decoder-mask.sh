#!/usr/bin/env bash
# moonshine-voice 0.0.73, its exported model tiny-en in onnxruntime 1.31.1: the decoder's input
# `encoder_attention_mask`.
#
# Expected: a mask of what the encoder gave, one for each of its frames.
# Seen: so it works up to 384 frames (9.3 s of sound) and fails above, with an error of a node that
# cannot broadcast. With a mask as long as the samples it works at any length, and the answers to
# short sounds are the same.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-deps moonshine-voice==0.0.73
venv/bin/pip install --quiet onnxruntime==1.31.1 numpy
venv/bin/python - <<'PYTHON'
import importlib.util
import pathlib

import numpy as np
import onnxruntime as ort

ort.set_default_logger_severity(4)
package = importlib.util.find_spec("moonshine_voice").submodule_search_locations[0]
assets = pathlib.Path(package, "assets", "tiny-en")
encoder = ort.InferenceSession(assets / "encoder_model.ort")
decoder = ort.InferenceSession(assets / "decoder_model_merged.ort")


def first_token(seconds, mask_of_frames):
    """The token that the decoder gives first for a sweep of so many seconds."""
    times = np.arange(int(seconds * 16000)) / 16000
    sound = (0.3 * np.sin(2 * np.pi * (200 + 50 * times) * times)).astype(np.float32)[None]
    ones = np.ones(sound.shape, np.int64)
    (hidden,) = encoder.run(None, {"input_values": sound, "attention_mask": ones})
    frames = hidden.shape[1]
    asked = {
        "input_ids": np.array([[1]], np.int64),
        "encoder_hidden_states": hidden,
        "encoder_attention_mask": np.ones((1, frames), np.int64) if mask_of_frames else ones,
        "use_cache_branch": np.array([False]),
    }
    for each in decoder.get_inputs():
        if each.name.startswith("past_key_values"):
            asked[each.name] = np.zeros((1, 8, 0, 36), np.float32)
    try:
        return frames, int(decoder.run(["logits"], asked)[0][0, -1].argmax())
    except Exception as error:
        return frames, type(error).__name__


for seconds in (2, 9, 10, 20):
    print(seconds, "s: mask of frames", first_token(seconds, True), "of samples", first_token(seconds, False))
for seconds in (2, 9):
    assert first_token(seconds, True) == first_token(seconds, False)
for seconds in (10, 20):
    assert isinstance(first_token(seconds, True)[1], str)
    assert isinstance(first_token(seconds, False)[1], int)
PYTHON
