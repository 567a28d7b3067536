"""docs/architecture.md draws the house as it stands, and no page points to what is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_imports import BENCHMARK_FLOORS, PACKAGE_FLOORS, ROOT, named

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
DRAWING = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)[0]
HOUSES = {
    "mlserver_streaming": PACKAGE_FLOORS,
    "benchmarks": BENCHMARK_FLOORS,
    "runtimes": (),
    "clients": (),
}
PAGES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").glob("*.md")]


def drawn() -> list[str]:
    """The folders in the drawing from top to bottom, by their paths."""
    found: list[str] = []
    above: list[str] = []
    for line in DRAWING.splitlines():
        if match := re.match(r"((?:  )*)([\w-]+)/ ", line):
            above[len(match[1]) // 2 :] = [match[2]]
            found.append("/".join(above))
    return found


@pytest.mark.parametrize("house", HOUSES)
def test_every_room_is_drawn_and_every_room_that_is_drawn_is_there(house: str) -> None:
    rooms = {named(path.parent) for path in (ROOT / house).rglob("__init__.py")}
    assert {path for path in drawn() if path.partition("/")[0] == house} == rooms


@pytest.mark.parametrize("house", ["mlserver_streaming", "benchmarks"])
def test_the_drawing_has_the_floors_in_their_order(house: str) -> None:
    floor_of = {name: level for level, names in enumerate(HOUSES[house]) for name in names}
    rooms = [path.split("/")[1] for path in drawn() if path.startswith(f"{house}/")]
    floors = [floor_of[name] for name in rooms if name in floor_of]
    assert floors == sorted(floors, reverse=True)


def test_every_file_that_the_page_names_is_there() -> None:
    missing = [
        name
        for name in set(re.findall(r"[\w/-]+\.(?:py|toml)\b", PAGE))
        if not any(
            path.match(f"**/{name}")
            for folder in (*HOUSES, "tests")
            for path in (ROOT / folder).rglob(Path(name).name)
        )
        and not (ROOT / name).is_file()
    ]
    assert missing == []


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []
