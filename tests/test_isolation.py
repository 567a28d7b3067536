"""Each model folder has its modules to itself."""

import importlib
import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlserver import MLModel
from mlserver.settings import ModelSettings

from mlserver_streaming.discovery import read_model_settings
from mlserver_streaming.isolation import ModelFolder, make_model

MODEL = """
from mlserver import MLModel

import helper


class Model(MLModel):
    def says(self):
        return helper.WORD
"""


@pytest.fixture(autouse=True)
def no_traces() -> Iterator[None]:
    """What a test imports under plain names is nobody's afterwards."""
    modules, path, owners = dict(sys.modules), list(sys.path), dict(ModelFolder.of_module)
    yield
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]
    assert sys.path == path
    ModelFolder.of_module.clear()
    ModelFolder.of_module.update(owners)


def put(folder: Path, implementation: str = "model.Model", **files: str) -> ModelSettings:
    """A model folder; `files` are modules, `{"a/b": ...}` is a/b.py."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        file = folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    settings = folder / "model-settings.json"
    settings.write_text(json.dumps({"implementation": implementation}))
    return read_model_settings(str(settings))


def said(model: MLModel) -> Any:
    return model.says()  # type: ignore[attr-defined]


def test_two_folders_have_modules_of_the_same_names(tmp_path: Path) -> None:
    models = [
        make_model(put(tmp_path / name, model=MODEL, helper=f"WORD = '{name}'")) for name in "abc"
    ]
    assert [said(model) for model in models] == ["a", "b", "c"]


def test_the_first_ones_are_known_by_their_plain_names_and_all_by_their_own(
    tmp_path: Path,
) -> None:
    a, b = (make_model(put(tmp_path / name, model=MODEL, helper="WORD = 1")) for name in "ab")
    assert type(a).__module__ == "model"
    assert sys.modules["helper"].__file__ == str(tmp_path / "a" / "helper.py")
    for kind in (type(a), type(b)):
        assert pickle.loads(pickle.dumps(kind)) is kind
    assert type(a) is not type(b)


def test_imports_within_functions_come_later_and_find_their_own(tmp_path: Path) -> None:
    late = """
from mlserver import MLModel

class Model(MLModel):
    def says(self):
        import late
        import parts.one
        from parts import two
        from parts.three import THREE as three
        return late.WORD, parts.one.WORD, two.WORD, three
"""
    models = [
        make_model(
            put(
                tmp_path / word,
                model=late,
                late=f"WORD = 'late {word}'",
                **{
                    "parts/one": f"WORD = 'one {word}'",
                    "parts/two": "from .one import WORD as one\nWORD = 'two, ' + one",
                    "parts/three": "from . import two\nfrom .two import *\nTHREE = WORD",
                },
                # b's is a package without one
                **({"parts/__init__": ""} if word == "a" else {}),
            )
        )
        for word in ("a", "b")
    ]
    for model, word in (*zip(models, "ab", strict=True), *zip(models, "ab", strict=True)):
        assert said(model) == (
            f"late {word}",
            f"one {word}",
            f"two, one {word}",
            f"two, one {word}",
        )


def test_a_model_may_be_a_package_with_relative_imports(tmp_path: Path) -> None:
    init = "from .core import Model\nfrom . import words\nimport mine.words as again\n"
    core = MODEL.replace("import helper", "from . import words as helper")
    models = [
        make_model(
            put(
                tmp_path / word,
                "mine.Model",
                **{"mine/__init__": init, "mine/core": core, "mine/words": f"WORD = '{word}'"},
            )
        )
        for word in "ab"
    ]
    assert [said(model) for model in models] == ["a", "b"]


def test_classes_of_a_later_folder_find_the_names_in_their_annotations(tmp_path: Path) -> None:
    annotated = """
from __future__ import annotations
import dataclasses
import typing
from mlserver import MLModel
from pydantic import BaseModel

class Part(BaseModel):
    word: str

class Whole(BaseModel):
    part: Part
    kind: typing.ClassVar[int] = 1

@dataclasses.dataclass
class Held:
    whole: Whole
    kind: typing.ClassVar[int] = 1

class Model(MLModel):
    def says(self):
        assert [field.name for field in dataclasses.fields(Held)] == ["whole"]
        assert typing.get_type_hints(Held)["whole"] is Whole
        return Held(Whole(part={"word": WORD})).whole.part.word

WORD = 
"""
    for word in "ab":
        model = make_model(put(tmp_path / word, model=f"{annotated.rstrip()} '{word}'"))
        assert said(model) == word


def test_a_changed_file_is_read_when_the_model_is_made_again_and_the_old_one_keeps_its_own(
    tmp_path: Path,
) -> None:
    put(tmp_path / "a", model=MODEL, helper="WORD = 'a'")
    make_model(put(tmp_path / "a"))
    for word in "xyz":  # within a second, and of the same size
        settings = put(tmp_path / "b", model=MODEL, helper=f"WORD = '{word}'")
        old = make_model(settings)
        assert said(old) == word
    (tmp_path / "b" / "helper.py").write_text("WORD =")
    with pytest.raises(SyntaxError):
        make_model(settings)
    assert said(old) == "z"
    new = make_model(put(tmp_path / "b", helper="from more import WORD", more="WORD = 'new'"))
    assert (said(new), said(old)) == ("new", "z")
    assert not (tmp_path / "b" / "__pycache__").exists()


def test_a_failed_first_import_leaves_nothing_behind(tmp_path: Path) -> None:
    settings = put(tmp_path / "a", model="import helper\nraise RuntimeError", helper="WORD = 1")
    with pytest.raises(RuntimeError):
        make_model(settings)
    assert {"model", "helper"} & set(sys.modules) == set()
    assert said(make_model(put(tmp_path / "a", model=MODEL))) == 1


def test_a_class_elsewhere_is_imported_as_with_mlserver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "away.py").write_text(MODEL)
    (tmp_path / "helper.py").write_text("WORD = 'of nobody'")
    for name in "ab":
        model = make_model(put(tmp_path / name, "far.away.Model"))
        assert said(model) == "of nobody"
        assert type(model) is sys.modules["far.away"].Model
    assert type(make_model(put(tmp_path / "c", "mlserver.MLModel"))) is MLModel


def test_a_module_of_the_served_root_and_one_of_a_model_folder_may_have_one_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "helper.py").write_text("WORD = 'of all'")
    (tmp_path / "root_model.py").write_text(MODEL)
    own = make_model(put(tmp_path / "a", model=MODEL, helper="WORD = 'own'"))
    of_root = make_model(put(tmp_path / "b", "root_model.Model"))
    at_root = make_model(put(tmp_path, "root_model.Model"))
    assert (said(own), said(of_root), said(at_root)) == ("own", "of all", "of all")


def test_folders_of_data_hide_no_package_and_files_no_standard_module(tmp_path: Path) -> None:
    text = MODEL.replace("import helper", "import json, numpy")
    text = text.replace("helper.WORD", "json.dumps(numpy.ones(1).tolist())")
    settings = put(tmp_path / "a", model=text, json="raise ImportError")
    (tmp_path / "a" / "numpy").mkdir()
    assert said(make_model(settings)) == "[1.0]"


def test_a_library_that_imports_by_text_while_the_model_is_imported_finds_it(
    tmp_path: Path,
) -> None:
    text = "import importlib\nfrom mlserver import MLModel\n"
    text += "helper = importlib.import_module('helper')\n" + MODEL
    model = make_model(put(tmp_path / "a", model=text, helper="import more\nWORD = 1", more=""))
    assert said(model) == 1
    assert str(tmp_path / "a") not in sys.path


@pytest.mark.parametrize(
    ("implementation", "error"),
    [
        ("model.Nobody", AttributeError),
        ("nowhere.Model", ModuleNotFoundError),
        ("model.deeper.Model", ModuleNotFoundError),
    ],
)
def test_what_is_not_there_is_an_error(
    implementation: str, error: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(error):
        make_model(put(tmp_path / "a", implementation, model=MODEL, helper=""))


def test_an_import_in_another_thread_does_not_disturb_the_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """importlib goes through a table of its own that changes meanwhile; now and then it says so."""
    disturbed = [RuntimeError("dictionary changed size during iteration"), None]

    def invalidate_caches() -> None:
        if disturbed and (error := disturbed.pop(0)):
            raise error

    monkeypatch.setattr(importlib, "invalidate_caches", invalidate_caches)
    assert said(make_model(put(tmp_path / "a", model=MODEL, helper="WORD = 1"))) == 1
    assert not disturbed
