"""The page /playground as a user has it: in Chromium, on a service with keys and one without."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import pytest

pytest.importorskip("playwright", reason="playwright is not installed (the extra dev has it)")

from playwright.sync_api import Browser, Locator, Page, expect

from tests.clients.web.node import FLAGS, NODE, needs_node
from tests.live.browser import (
    VOICE,
    Watched,
    browser,
    frames,
    needs_chromium,
    write_sound,
    write_video,
)
from tests.live.conftest import make_folder
from tests.live.keyed import add_key
from tests.live.openai_service import MODELS
from tests.live.service import ROOT, Service
from tests.live.warm import WarmService
from tests.live.watch import PATIENCE

pytestmark = needs_chromium
TABS = ("text", "video", "speech", "chat")
NARROW, WIDE = 360, 1600
SERVED = ("text-model", "motion", "speech-model")

expect.set_options(timeout=PATIENCE * 1000)


class Keyed:
    def __init__(self, service: Service, keys_file: Path):
        self.url = service.url
        self.key = add_key(keys_file, "everything", "--role", "infer")
        self.limited = add_key(keys_file, "one", "--role", "infer", "--model", "text-model")


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("playground") / "service"
    make_folder(folder, streaming={"auth": {"keys_file": "keys.json"}})
    for model in (folder / "model-settings").iterdir():
        if model.name not in SERVED:
            shutil.rmtree(model)
    # A model for chats that answers with its question.
    shutil.copytree(MODELS / "language", folder / "model-settings" / "language")
    keys_file = folder / "keys.json"
    add_key(keys_file, "first", "--role", "infer")
    with WarmService(folder, folder / "server.log") as service:
        yield Keyed(service, keys_file)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@contextmanager
def opened(chromium: Browser, url: str) -> Iterator[Watched]:
    """The page, before a key was typed in."""
    context = chromium.new_context(viewport={"width": WIDE, "height": 1000})
    found = Watched(context.new_page(), url)
    # That a key is missing is told by a status, which the console names.
    found.expected = ("status of 401",)
    found.page.goto(f"{url}/playground")
    yield found
    context.close()


@pytest.fixture(scope="module")
def shared(chromium: Browser, keyed: Keyed) -> Iterator[Watched]:
    with opened(chromium, keyed.url) as found:
        type_key(found.page, keyed.key)
        yield found


@pytest.fixture
def watched(shared: Watched) -> Iterator[Watched]:
    """One page for all, with a key; each test leaves it as a user would."""
    shared.sockets = 0
    yield shared
    assert shared.faults == []


@pytest.fixture
def page(watched: Watched) -> Page:
    return watched.page


def type_key(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Use key").click()
    expect(page.locator("#service")).to_contain_text(" at 127.0.0.1")
    expect(page.locator("#service")).not_to_contain_text("No models")


def open_tab(page: Page, name: str) -> Locator:
    page.locator(f"#tab-{name}").click()
    panel = page.locator(f"#panel-{name}")
    expect(panel).to_be_visible()
    return panel


def figure(panel: Locator, name: str) -> Locator:
    return panel.locator(f"[data-figure={name}]")


def choose(panel: Locator, model: str) -> None:
    panel.get_by_label("Model").select_option(model)


# -- text ----------------------------------------------------------------------------------------


def test_words_come_and_can_be_stopped(page: Page) -> None:
    panel = open_tab(page, "text")
    choose(panel, "text-model")
    panel.get_by_label("Prompt").fill("one two three")
    panel.get_by_label("Parameters").fill('{"delay": 0.01}')
    panel.get_by_role("button", name="Send").click()
    expect(panel.get_by_role("status")).to_contain_text("3 responses in")
    expect(panel.locator(".output")).to_have_text("one two three")
    expect(figure(panel, "first")).to_contain_text("ms")
    expect(panel.locator(".raw li")).to_have_count(4)

    panel.get_by_label("Parameters").fill('{"delay": 5}')
    panel.get_by_role("button", name="Send").click()
    panel.get_by_role("button", name="Stop").click()
    expect(panel.get_by_role("status")).to_have_text("Stopped.")
    expect(panel.get_by_role("button", name="Send")).to_be_enabled()


def test_what_is_wrong_is_one_sentence(page: Page, watched: Watched) -> None:
    watched.expected += ("status of 400",)
    panel = open_tab(page, "text")
    choose(panel, "text-model")
    for parameters, sentence in (("[1]", "must be a JSON object"), ('{"delay": -1}', "delay")):
        panel.get_by_label("Parameters").fill(parameters)
        panel.get_by_role("button", name="Send").click()
        expect(panel.get_by_role("alert")).to_contain_text(sentence)
        expect(panel.get_by_role("button", name="Send")).to_be_enabled()


def test_the_request_as_code_never_has_the_key(page: Page, keyed: Keyed) -> None:
    for name in TABS:
        panel = open_tab(page, name)
        for language in ("curl", "Python", "JavaScript"):
            panel.get_by_label("Language", exact=True).select_option(language)
            code = panel.locator(".code")
            expect(code).to_contain_text("key" if language == "JavaScript" else "API_KEY")
            assert keyed.key not in code.inner_text()


# -- keys ----------------------------------------------------------------------------------------


def test_without_a_key_the_page_says_so_and_a_key_shows_its_own_models(
    chromium: Browser, keyed: Keyed
) -> None:
    with opened(chromium, keyed.url) as watched:
        _try_keys(watched.page, keyed)
        assert watched.faults == []


def _try_keys(page: Page, keyed: Keyed) -> None:
    problem = page.locator("#problem")
    expect(problem).to_have_text("This service needs a key: type one in above.")
    page.get_by_label("API key").fill("mls_wrong")
    page.keyboard.press("Enter")
    expect(problem).to_have_text("The key is not known here.")
    page.get_by_label("API key").fill(keyed.limited)
    page.keyboard.press("Enter")
    expect(page.locator("#service")).to_contain_text("1 model at ")
    expect(problem).to_be_hidden()
    expect(open_tab(page, "text").locator(".absent")).to_be_hidden()
    for name in ("video", "speech", "chat"):
        panel = open_tab(page, name)
        expect(panel.locator(".absent")).to_be_visible()
        expect(panel.locator("form")).to_have_attribute("inert", "")
        expect(panel.locator(".code")).to_be_empty()
    stored = page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
    assert stored == [0, 0, ""]


# -- chat ----------------------------------------------------------------------------------------


def test_a_chat_goes_on(page: Page) -> None:
    panel = open_tab(page, "chat")
    choose(panel, "language")
    message = panel.get_by_role("textbox", name="Message")
    for text in ("one two", "three"):
        message.fill(text)
        message.press("Enter")
        expect(panel.get_by_role("status")).to_have_text(f"Answer: {text}")
    expect(panel.locator(".messages li")).to_have_text(["one two", "one two", "three", "three"])
    assert '"role":"assistant","content":"one two"' in panel.locator(".raw").inner_text()
    panel.get_by_role("button", name="New chat").click()
    expect(panel.locator(".messages li")).to_have_count(0)


# -- video ---------------------------------------------------------------------------------------


def painted(canvas: Locator) -> bool:
    return bool(
        canvas.evaluate(
            "c => c.width > 0 && "
            "c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v)"
        )
    )


def test_a_camera_s_frames_are_answered_on_one_socket(page: Page, watched: Watched) -> None:
    panel = open_tab(page, "video")
    choose(panel, "motion")
    panel.get_by_role("button", name="Use camera").click()
    expect(figure(panel, "objects")).to_have_text("1")
    expect(figure(panel, "answered")).to_have_text(re.compile(r"\d\d+"))
    assert painted(panel.locator(".boxes"))
    panel.get_by_role("button", name="Stop").click()
    expect(panel.get_by_role("status")).to_contain_text("frames sent")
    counts = [int(figure(panel, name).inner_text()) for name in ("sent", "answered")]
    assert counts[0] - counts[1] <= 2
    assert watched.sockets == 1


DROPPED = """bytes => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], "square.webm", { type: "video/webm" }));
  return data;
}"""


def test_a_video_that_is_dropped_is_played_through(page: Page, tmp_path: Path) -> None:
    write_video(tmp_path / "square.webm")
    panel = open_tab(page, "video")
    choose(panel, "motion")
    dropped_file = page.evaluate_handle(DROPPED, list((tmp_path / "square.webm").read_bytes()))
    panel.locator(".drop").dispatch_event("drop", {"dataTransfer": dropped_file})
    panel.get_by_role("button", name="Play file").click()
    expect(panel.get_by_role("status")).to_contain_text("dropped.")
    sent, answered, dropped = (
        int(figure(panel, name).inner_text()) for name in ("sent", "answered", "dropped")
    )
    assert sent == answered > 0
    assert dropped >= 0


def test_a_picture_and_what_is_none(page: Page, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), next(frames()))
    (tmp_path / "b.png").write_bytes(b"no picture")
    panel = open_tab(page, "video")
    choose(panel, "motion")
    for name, told in (("a.png", "0 found in the picture."), ("b.png", "cannot read this picture")):
        panel.get_by_label("A video or a picture").set_input_files(tmp_path / name)
        panel.get_by_role("button", name="Play file").click()
        expect(panel.locator(".state, .work > .problem", has_text=told)).to_be_visible()


# -- speech --------------------------------------------------------------------------------------


def test_a_microphone_is_heard(page: Page, watched: Watched) -> None:
    panel = open_tab(page, "speech")
    choose(panel, "speech-model")
    panel.get_by_role("button", name="Use microphone").click()
    if VOICE.is_file():
        expect(panel.locator(".finals li").first).not_to_be_empty()
    else:
        expect(figure(panel, "sent")).to_have_text("1.0 s")
    panel.get_by_role("button", name="Stop").click()
    expect(panel.get_by_role("status")).to_contain_text("heard." if VOICE.is_file() else "said.")
    assert watched.sockets == 1


def test_a_recording_is_heard(page: Page, tmp_path: Path) -> None:
    write_sound(tmp_path / "voice.wav")
    panel = open_tab(page, "speech")
    choose(panel, "speech-model")
    panel.get_by_label("A recording").set_input_files(tmp_path / "voice.wav")
    panel.get_by_role("button", name="Send file").click()
    expect(panel.get_by_role("status")).to_contain_text("heard." if VOICE.is_file() else "said.")


# -- the client, without the page ----------------------------------------------------------------


@needs_node
def test_the_client_under_node(keyed: Keyed) -> None:
    file = ROOT / "tests" / "clients" / "web" / "live.mjs"
    environment = {**os.environ, "URL": keyed.url, "KEY": keyed.key}
    ended = subprocess.run(
        [str(NODE), *FLAGS, str(file)], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


# -- for everybody -------------------------------------------------------------------------------

NAMELESS = """() => [...document.querySelectorAll(
  'button, input, select, textarea, meter, video, img, canvas, [tabindex="0"], [role]')]
  .filter((each) => !(each.getAttribute('aria-label') || each.getAttribute('aria-labelledby')
    || each.alt || each.textContent.trim() || each.labels?.length
    || ['alert', 'status'].includes(each.role)))
  .map((each) => each.outerHTML)"""
FOCUSED = """() => {
  const {activeElement: found} = document, style = getComputedStyle(found);
  const seen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
  return [found.id || found.name || found.className || found.tagName, seen];
}"""


def test_everything_has_a_name(page: Page) -> None:
    assert page.evaluate(NAMELESS) == []


def test_it_is_used_by_keyboard_alone(page: Page) -> None:
    page.locator("#tab-text").focus()
    for key, name in (
        *(("ArrowRight", each) for each in ("video", "speech", "chat", "text")),
        *(("ArrowLeft", "chat"), ("Home", "text"), ("End", "chat"), ("Home", "text")),
    ):
        page.keyboard.press(key)
        tab = page.locator(f"#tab-{name}")
        expect(tab).to_be_focused()
        expect(tab).to_have_attribute("aria-selected", "true")
        assert page.locator("[role=tabpanel]:visible").count() == 1
    way: list[Any] = [page.evaluate(FOCUSED)]
    while way[-1][0] != "BODY" and len(way) < 40:
        page.keyboard.press("Tab")
        way.append(page.evaluate(FOCUSED))
    names = [name for name, _ in way]
    assert names[:5] == ["tab-text", "model", "prompt", "parameters", "primary"]
    assert names[-6:-1] == ["language", "copy", "code", "clear", "raw"]
    assert all(seen for name, seen in way if name != "BODY")
    # The words' way by keys only.
    page.locator("#panel-text [name=prompt]").fill("by keys alone")
    page.locator("#panel-text [name=parameters]").fill('{"delay": 0}')
    page.keyboard.press("Enter")
    expect(page.locator("#panel-text .output")).to_have_text("by keys alone")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_screen(page: Page, scheme: Any) -> None:
    page.set_viewport_size({"width": NARROW, "height": 740})
    page.emulate_media(color_scheme=scheme)
    for name in TABS:
        open_tab(page, name)
        assert page.evaluate("document.documentElement.scrollWidth") == NARROW
