"""A container of the image, without a network: what asks it runs in it."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

ENGINE = os.environ.get("ENGINE", "podman")
IMAGE = os.environ.get("IMAGE_TEST", "mlserver-streaming")
PATIENCE_S = 120.0
ASK = Path(__file__).with_name("ask.py").read_text(encoding="utf-8")


def engine(*arguments: str, check: bool = True) -> str:
    """What podman or docker says; of its errors too."""
    done = subprocess.run(
        [ENGINE, *arguments],
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert not check or done.returncode == 0, done.stdout
    return done.stdout


class Container:
    """One that runs as a careful platform runs it: a root that nobody writes, no network."""

    def __init__(self, *flags: str) -> None:
        self.name = f"image-test-{uuid.uuid4().hex[:8]}"
        self._flags = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", *flags)

    def __enter__(self) -> Self:
        self.began = time.monotonic()
        flags = ("--detach", "--network", "none", "--name", self.name, *self._flags)
        engine("run", *flags, IMAGE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        engine("rm", "--force", "--volumes", self.name, check=False)

    def wait_until_ready(self) -> float:
        """Seconds since it was started."""
        health = [ENGINE, "exec", self.name, "python", "-m", "mlserver_streaming.ready"]
        while subprocess.run(health, check=False, capture_output=True).returncode:
            assert self.status() is None, self.log()
            assert time.monotonic() < self.began + PATIENCE_S, self.log()
        return time.monotonic() - self.began

    def run(self, *command: str) -> str:
        """What a command in it prints."""
        return engine("exec", self.name, *command)

    def ask(self, path: str, *headers: str) -> tuple[int, str]:
        """Status and body of a GET."""
        said = self.run("python", "-c", ASK, path, *headers)
        status, _, body = said.partition("\n")
        return int(status), body

    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        state, _, code = self._inspect("{{.State.Status}} {{.State.ExitCode}}").partition(" ")
        return int(code) if state == "exited" else None

    def wait(self) -> int:
        return int(engine("wait", self.name).splitlines()[-1])

    def log(self) -> str:
        return engine("logs", self.name)

    def _inspect(self, format: str) -> str:
        return engine("inspect", "--format", format, self.name).splitlines()[-1]


def labels() -> dict[str, str]:
    keys = ("title", "version", "revision", "licenses", "base.name")
    found = {}
    for key in keys:
        template = f'{{{{index .Config.Labels "org.opencontainers.image.{key}"}}}}'
        found[key] = engine("image", "inspect", "--format", template, IMAGE).strip()
    return found
