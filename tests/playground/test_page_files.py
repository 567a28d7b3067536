"""The page's files: which there are, and how they are sent."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from mlserver_streaming.access.authenticator import Authenticator
from mlserver_streaming.playground import PageFiles, is_shown
from mlserver_streaming.rest.auth import protect
from mlserver_streaming.settings import AuthSettings
from tests.test_imports import ROOT

FOLDER = ROOT / "mlserver_streaming" / "playground" / "page"
CLIENT = ROOT / "clients" / "web" / "streaming.js"
PAGE = (FOLDER / "index.html").read_text(encoding="utf-8")
PATHS = sorted(PageFiles().paths)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(Starlette(routes=PageFiles("/v1").routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as asked:
        yield asked


def test_the_page_is_there_and_all_that_it_loads() -> None:
    loaded = set(re.findall(r'(?:src|href)="([^"]+)"', PAGE))
    assert {f"/{each}" for each in loaded} <= set(PATHS)
    for path in FOLDER.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        imported = re.findall(r'^(?:import|\} from|import .* from) .*?"\./([\w.]+)";', text, re.M)
        assert {f"/playground/{each}" for each in imported} <= set(PATHS), path.name


@pytest.mark.parametrize("path", PATHS)
async def test_a_file_says_what_it_is_and_what_it_may(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    assert answer.headers["content-type"].partition(";")[0] == kinds.get(
        Path(path).suffix, "text/html"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


async def test_what_a_browser_has_already_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/playground")
    tag = first.headers["etag"]
    for header in (tag, f'"x", {tag}', tag.removeprefix("W/")):
        again = await client.get("/playground", headers={"if-none-match": header})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    for header in ('"x"', "", "W/"):
        changed = await client.get("/playground", headers={"if-none-match": header})
        assert (changed.status_code, changed.content) == (200, first.content)


@pytest.mark.parametrize(
    "path",
    ["index.html", "", "../__init__.py", "%2e%2e/page_files.py", "style.css/", "STYLE.CSS", "page"],
)
async def test_there_is_nothing_else(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"/playground/{path}")
    assert answer.status_code in {307, 404}  # a slash too many


async def test_ranges_are_not_read(client: httpx.AsyncClient) -> None:
    whole = await client.get("/playground/style.css")
    part = await client.get("/playground/style.css", headers={"range": "bytes=0-1,0-2,0-3"})
    assert (part.status_code, part.content) == (200, whole.content)


def test_nothing_stands_inline_and_nothing_is_of_another_host() -> None:
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", PAGE)
    for path in FOLDER.iterdir():
        text = path.read_text(encoding="utf-8")
        # Comments name pages to read, an SVG its own language.
        code = re.sub(r"(?m)^\s*(//|\*|/\*\*).*$", "", text)
        code = code.replace("http://www.w3.org/2000/svg", "")
        hosts = set(re.findall(r"(?:https?:)?//([\w.-]+\.\w+)", code))
        assert hosts == set(), path.name
        assert not re.search(
            r"\beval\(|new Function|innerHTML|insertAdjacentHTML|document\.write", code
        )


def test_the_page_has_the_client_that_others_copy() -> None:
    assert (FOLDER / "streaming.js").resolve() == CLIENT


async def test_the_page_knows_where_openai_s_routes_are(client: httpx.AsyncClient) -> None:
    assert 'data-openai="v1"' in (await client.get("/playground")).text
    transport = httpx.ASGITransport(Starlette(routes=PageFiles(None).routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as without:
        assert 'data-openai=""' in (await without.get("/playground")).text


@pytest.mark.parametrize(
    ("setting", "host", "shown"),
    [
        (None, "127.0.0.1", True),
        (None, "localhost", True),
        (None, "::1", True),
        (None, "0.0.0.0", False),
        (None, "::", False),
        (None, "192.0.2.7", False),
        (True, "0.0.0.0", True),
        (False, "127.0.0.1", False),
    ],
)
def test_left_open_it_is_for_who_sits_at_the_machine(
    setting: bool | None, host: str, shown: bool
) -> None:
    assert is_shown(setting, host) is shown


async def test_the_page_needs_no_key_and_all_else_does(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("[]")
    files = PageFiles()
    app = Starlette(routes=files.routes())
    protect(app, Authenticator(AuthSettings(keys_file="keys.json"), str(tmp_path)), files.paths)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as asked:
        for path in PATHS:
            assert (await asked.get(path)).status_code == 200
        for path in ("/v2", "/playground/x", "/playgrounds", "/v2/playground"):
            assert (await asked.get(path)).status_code == 401
