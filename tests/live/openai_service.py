"""Services with models for OpenAI's routes, and openai-python's clients of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import openai

from tests.live.conftest import make_folder
from tests.live.service import Service

MODELS = Path(__file__).with_name("openai_models")
PREFIX = "/v1"


def openai_folder(folder: Path, **settings: Any) -> Path:
    """A folder to serve, as `make_folder` has it, with those models too."""
    make_folder(folder, **settings)
    shutil.copytree(MODELS, folder / "model-settings", dirs_exist_ok=True)
    return folder


def client(
    service: Service, key: str = "none", prefix: str = PREFIX, **named: Any
) -> openai.OpenAI:
    """An unmodified client; it repeats nothing unless it is told to."""
    named = {"max_retries": 0, **named}
    return openai.OpenAI(base_url=service.url + prefix, api_key=key, **named)


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]
