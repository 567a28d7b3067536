"""Why a model could not be loaded, in a line for the log and one for callers."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlserver.errors import InvalidModelURI
from mlserver.settings import ModelSettings

from mlserver_streaming.discovery import read_model_settings
from mlserver_streaming.load_failure import LoadError, LoadFailure, without_paths


def failing(root: Path, code: str) -> LoadFailure:
    folder = root / "models" / "m"
    folder.mkdir(parents=True)
    file = folder / "model-settings.json"
    file.write_text('{"implementation": "model.Model"}')
    settings = read_model_settings(str(file))
    try:
        exec(compile(code, str(folder / "model.py"), "exec"), {"root": str(root)})
    except BaseException as error:
        return LoadFailure.of(error, settings, str(root))
    raise AssertionError("it did not fail")


@pytest.mark.parametrize(
    ("code", "where", "said"),
    [
        ("\n\nraise RuntimeError('a\\n  b')", "model.py, line 3", "RuntimeError: a b"),
        ("raise ValueError", "model.py, line 1", "ValueError"),
        ("import json\njson.loads('{')", "model.py, line 2", "json.decoder.JSONDecodeError: "),
        ("raise SystemExit(0)", "model.py, line 1", "SystemExit: 0"),
        ("try:\n  1/0\nexcept ArithmeticError as e:\n  raise KeyError('a') from e",
         "model.py, line 4", "KeyError: 'a'"),
    ],
)  # fmt: skip
def test_it_names_the_line_of_the_folder_s_own_code_and_what_python_says_last(
    code: str, where: str, said: str, tmp_path: Path
) -> None:
    failure = failing(tmp_path, code)
    assert failure.sentence.startswith(f"Model 'm' cannot be loaded: models/m/{where}: {said}")
    assert "\n" not in failure.sentence
    assert failure.trace.startswith("Traceback")
    assert failure.status == 500


def test_a_syntax_error_is_where_its_line_is(tmp_path: Path) -> None:
    failure = failing(tmp_path, "\nclass Model(:")
    assert failure.reason == "models/m/model.py, line 2: SyntaxError: invalid syntax"


def test_code_that_lies_elsewhere_is_not_to_blame_but_the_settings_that_name_it() -> None:
    settings = ModelSettings(name="m", implementation="nowhere.Model")
    settings._source = "/served/m/model-settings.json"
    try:
        import_nothing()
    except ImportError as error:
        failure = LoadFailure.of(error, settings, "/served")
    assert failure.where == "m/model-settings.json"


def import_nothing() -> None:
    import not_there  # type: ignore[import-not-found]  # noqa: F401


def test_an_error_of_mlserver_keeps_its_text_and_status(tmp_path: Path) -> None:
    settings = ModelSettings(name="m", implementation="model.Model")
    failure = LoadFailure.of(InvalidModelURI("m", "/srv/weights"), settings, str(tmp_path))
    assert failure.status == 422
    assert failure.sentence.endswith("Invalid URI specified for model m (/srv/weights)")
    error = LoadError(failure)
    assert str(error) == ("Model 'm' cannot be loaded: Invalid URI specified for model m (weights)")
    assert (error.status_code, error.failure) == (422, failure)


def test_it_goes_from_one_process_to_another_and_is_bounded(tmp_path: Path) -> None:
    failure = failing(tmp_path, "raise RuntimeError('x' * 10_000)")
    assert pickle.loads(pickle.dumps(failure)) == failure
    assert len(failure.sentence) < 500


@pytest.mark.parametrize(
    ("text", "fit"),
    [
        ("No such file: '/srv/served/m/w.bin'", "No such file: 'm/w.bin'"),
        ("No such file: '/srv/my models/w.bin'", "No such file: 'w.bin'"),
        ('in "/srv/my models/"', 'in "my models"'),
        ("cannot open /opt/lib/a.so: no", "cannot open a.so: no"),
        ("at path=/opt/lib/a.so, twice", "at path=a.so, twice"),
        ("(/opt/lib) file:///opt/lib/b.so", "(lib) b.so"),
        ("https://there:80/a/b and s3://a/b stay", "https://there:80/a/b and s3://a/b stay"),
        ("and/or 1/2 N/A a / b ./x ~/y", "and/or 1/2 N/A a / b ./x ~/y"),
        ("don't open '/a/b'", "don't open 'b'"),
    ],
)
def test_callers_see_no_path_of_the_machine(text: str, fit: str) -> None:
    assert without_paths(text, "/srv/served") == fit


@given(
    st.lists(st.text("abc_-. 1", min_size=1).filter(str.strip), min_size=1, max_size=4),
    st.sampled_from(["'{}'", '"{}"', "x: '{}'.", "error('{}', 1)"]),
)
def test_no_quoted_path_gets_through(parts: list[str], around: str) -> None:
    path = "/root-of-it/" + "/".join(parts)
    assert "root-of-it" not in without_paths(around.format(path), "/srv/served")
