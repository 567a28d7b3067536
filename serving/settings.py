"""The "streaming" block of settings.json, validated.

MLServer ignores blocks that it does not know, so the file is read once more, here, at the door.
"""

import json
import os
import sys
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

SETTINGS_FILE = "settings.json"
BLOCK = "streaming"


def _no_boolean(value: object) -> object:
    # pydantic would read true as 1.
    if isinstance(value, bool):
        raise PydanticCustomError("number", "Input should be a number")
    return value


Port = Annotated[int, BeforeValidator(_no_boolean), Field(ge=1, le=65535)]
Seconds = Annotated[float, BeforeValidator(_no_boolean), Field(gt=0, le=86_400)]


class StreamingSettings(BaseSettings):
    """How streams are served. An environment variable `STREAMING_<FIELD>` wins over the file; its
    text `null` is the file's null."""

    model_config = SettingsConfigDict(
        env_prefix="STREAMING_", env_parse_none_str="null", extra="forbid", frozen=True
    )

    triton_port: Port | None = Field(
        None, description="Port of the Triton gRPC dialect; null closes it."
    )
    keepalive_seconds: Seconds = Field(
        15, description="Silence after which an SSE stream gets a comment line."
    )
    first_response_grace_seconds: Seconds = Field(
        5,
        description="How long an SSE stream waits for its first response, so that an error can "
        "still be a real status, before it sends its headers.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The environment first: what a container sets must win over the file in its image.
        return env_settings, init_settings

    @classmethod
    def read(cls, folder: str | None) -> "StreamingSettings":
        """The settings of the service that is started in `folder`.

        Raises:
            SystemExit: a value is unknown or impossible; its one line names the field.
        """
        block = {}
        path = os.path.join(folder or ".", SETTINGS_FILE)
        if os.path.isfile(path):
            with open(path, encoding="utf-8") as file:
                block = json.load(file).get(BLOCK, {})
        if not isinstance(block, dict):
            sys.exit(f'"{BLOCK}" in {SETTINGS_FILE} must be an object, not {block!r}.')
        try:
            return cls(**block)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "?"
            sys.exit(f'"{BLOCK}.{field}" in {SETTINGS_FILE} or its variable: {first["msg"]}.')
