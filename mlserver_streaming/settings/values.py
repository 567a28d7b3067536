"""The kinds of values that settings have, each with its bound."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

MIN_SECRET_CHARACTERS = 16


def no_boolean(value: object) -> object:
    # pydantic would read true as 1.
    if isinstance(value, bool):
        raise PydanticCustomError("number", "Input should be a number")
    return value


Port = Annotated[int, BeforeValidator(no_boolean), Field(ge=1, le=65535)]
Seconds = Annotated[float, BeforeValidator(no_boolean), Field(gt=0, le=86_400)]
SecondsOrZero = Annotated[float, BeforeValidator(no_boolean), Field(ge=0, le=86_400)]
Count = Annotated[int, BeforeValidator(no_boolean), Field(ge=1, le=1_000_000)]
CountOrZero = Annotated[int, BeforeValidator(no_boolean), Field(ge=0, le=1_000_000)]
Bytes = Annotated[int, BeforeValidator(no_boolean), Field(ge=1024, le=2**31 - 1)]
MemoryBytes = Annotated[int, BeforeValidator(no_boolean), Field(ge=1024, le=2**40)]


def long_secret(secret: SecretStr | None) -> SecretStr | None:
    if secret is not None and len(secret.get_secret_value()) < MIN_SECRET_CHARACTERS:
        raise ValueError(f"a secret has {MIN_SECRET_CHARACTERS} characters or more")
    return secret


class Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
