"""The CTC engine: batches, beams, and models that are none."""

import asyncio
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from runtimes.speech.ctc_engine import CtcEngine, padded_frames
from runtimes.speech.engines import make_engine
from tests.audio.sounds import pcm
from tests.runtimes.speech_sounds import FEATURES, spell, write_model

SOUNDS = [pcm(spell(text)) for text in ("ab", "b", "a b", "ab", "bb a b ab ba")]
TEXTS = ["ab", "b", "a b", "ab", "bb a b ab ba"]


def make(model: Path, **ctc: object) -> CtcEngine:
    given = {"ctc": {"features": FEATURES} | ctc}
    engine = make_engine("M", lambda name, default: given.get(name, default), str(model))
    assert isinstance(engine, CtcEngine)
    return engine


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("beam", [1, 8])
async def test_texts(tmp_path: Path, lengths: bool, beam: int) -> None:
    engine = make(write_model(tmp_path, lengths=lengths), beam=beam)
    await engine.load()
    found = await engine.recognise(SOUNDS)
    assert [each.text for each in found] == TEXTS
    word = found[0].words[0]
    assert word.start == pytest.approx(0.4, abs=0.05)
    assert word.end == pytest.approx(0.75, abs=0.2)
    await engine.close()


async def test_neighbours_change_nothing_and_similar_lengths_go_together(tmp_path: Path) -> None:
    engine = make(write_model(tmp_path))
    await engine.load()
    runs = []
    run = engine._run
    engine._run = lambda features, frames: (  # type: ignore[method-assign]
        runs.append(len(features)) or run(features, frames)
    )
    together = await engine.recognise(SOUNDS)
    assert sorted(runs) == [1, 1, 1, 2]
    alone = [(await engine.recognise([sound]))[0] for sound in SOUNDS]
    assert [each.text for each in together] == [each.text for each in alone]
    await engine.close()


async def test_an_utterance_under_way_ends_as_the_whole(tmp_path: Path) -> None:
    engine = make(write_model(tmp_path))
    await engine.load()
    (whole,) = await engine.recognise([SOUNDS[4]])
    running = engine.open()
    heard = [await running.feed(part) for part in np.array_split(SOUNDS[4], 30)]
    assert await running.finish() == whole
    assert all(TEXTS[4].startswith(text) for text in heard)
    assert len(set(heard)) > 3
    running.close()
    await engine.close()


def test_padding_depends_on_the_length_alone() -> None:
    sizes = [padded_frames(frames) for frames in range(1, 3000)]
    assert all(size >= frames for frames, size in enumerate(sizes, 1))
    assert all(size % 16 == 0 for size in sizes)
    assert len(set(sizes)) < 40


async def test_models_that_cannot_be(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    for wrong, says in [
        ({"labels": "none.txt"}, "none.txt cannot be read"),
        ({"blank": 9}, "blank must be from 0 to 3"),
        ({"colour": 1}, "no colour"),
        ({"features": {"melts": 3}}, "'features' settings are wrong"),
    ]:
        with pytest.raises(ValueError, match=says):
            make(model, **wrong)
    with pytest.raises(ValueError, match="takes 64 mel bands; the settings say 80"):
        await make(model, features={"mels": 80}).load()
    (tmp_path / "labels.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match=r"not \[B, T, 3\]"):
        await make(model).load()
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match="cannot be loaded"):
        await make(tmp_path / "bad.onnx").load()
    flat = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [flat], [out])
    other = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(other, str(tmp_path / "other.onnx"))
    with pytest.raises(ValueError, match=r"not features \[B, mels, T\]"):
        await make(tmp_path / "other.onnx").load()


def test_settings_choose_the_engine() -> None:
    for engine, says in [
        ("other", "engine must be 'moonshine', 'pocketsphinx' or 'ctc', not 'other'"),
        ("ctc", r"needs 'parameters.uri'"),
    ]:
        given = {"engine": engine}
        with pytest.raises(ValueError, match=says):
            make_engine("M", lambda name, default, given=given: given.get(name, default), None)


async def test_many_at_once(tmp_path: Path) -> None:
    engine = make(write_model(tmp_path))
    await engine.load()
    found = await asyncio.gather(*(engine.recognise([sound]) for sound in SOUNDS * 4))
    assert [each[0].text for each in found] == TEXTS * 4
    await engine.close()
