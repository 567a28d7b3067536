"""Make, list and remove API keys: `mlserver-streaming keys`."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, time
from typing import Any, NoReturn

import click
from pydantic import ValidationError

from .callers import ROLES, TOKEN_PREFIX
from .keys_file import KEYS, Key, digest, parse_keys

# Scanners of repositories and logs find leaked keys by it, and no key begins with a dash.
PREFIX = "mls_"
SECRET_BYTES = 32


class Refused(click.ClickException):
    """What cannot be done, in one line."""


@click.group()
def main() -> None:
    """Make, list and remove API keys.

    A key is shown once, when it is made: the file holds its SHA-256 only. A running service takes a
    change of the file within a second.
    """


file_option: Callable[[Any], Any] = click.option(
    "--file",
    "path",
    required=True,
    envvar="STREAMING_AUTH__KEYS_FILE",
    show_envvar=True,
    help="The file of keys; `add` makes it if there is none.",
)


@main.command()
@click.argument("name")
@click.option("--role", "roles", type=click.Choice(ROLES), multiple=True, required=True)
@click.option("--model", "models", multiple=True, help="May use this model; left out, all models.")
@click.option("--expires", help="Last day (2027-01-31, UTC) or moment (2027-01-31T12:00:00Z).")
@file_option
def add(
    name: str, roles: tuple[str, ...], models: tuple[str, ...], expires: str | None, path: str
) -> None:
    """Make a key and print it, alone, on standard output."""
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    fields = {
        "name": name,
        "sha256": digest(secret).hex(),
        "roles": tuple(dict.fromkeys(roles)),
        "models": tuple(dict.fromkeys(models)) or None,
        "expires": _later(expires) if expires else None,
    }
    if name.startswith(TOKEN_PREFIX):
        raise Refused(f"Names that begin with '{TOKEN_PREFIX}' are those of tokens; take another.")
    try:
        key = Key.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise Refused(f"{first['loc'][0]} '{first['input']}': {first['msg']}.") from None
    with _locked(path):
        keys = _read(path) if os.path.exists(path) else []
        if any(each.name == name for each in keys):
            raise Refused(f"There is a key '{name}' in {path}; remove it first.")
        _write(path, [*keys, key])
    click.echo(f"Added '{name}' to {path}. This is its key; it is not shown again:", err=True)
    click.echo(secret)


@main.command("list")
@file_option
def list_keys(path: str) -> None:
    """Print each key's name, roles, models and end."""
    for key in _read(path):
        models = ",".join(key.models) if key.models is not None else "all models"
        expires = f"until {key.expires.isoformat()}" if key.expires else "for ever"
        click.echo(f"{key.name}\t{','.join(key.roles)}\t{models}\t{expires}")


@main.command()
@click.argument("name")
@file_option
def remove(name: str, path: str) -> None:
    """Take a key out of the file."""
    with _locked(path):
        keys = _read(path)
        left = [key for key in keys if key.name != name]
        if len(left) == len(keys):
            raise Refused(f"There is no key '{name}' in {path}.")
        _write(path, left)
    click.echo(f"Removed '{name}' from {path}.", err=True)


def _later(text: str) -> datetime:
    """A moment that is not over yet."""
    moment = _moment(text)
    if moment <= datetime.now(UTC):
        raise Refused(f"'{text}' is over already; name a later day or moment.")
    return moment


def _moment(text: str) -> datetime:
    """A moment as ISO 8601 has it; a day alone is over at its end, in UTC."""
    try:
        if len(text) == len("2027-01-31"):
            return datetime.combine(date.fromisoformat(text), time(23, 59, 59), UTC)
        moment = datetime.fromisoformat(text)
    except ValueError:
        _refuse_date(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _refuse_date(text: str) -> NoReturn:
    raise Refused(f"'{text}' is no date; write it as 2027-01-31 or 2027-01-31T12:00:00Z.")


def _read(path: str) -> list[Key]:
    try:
        with open(path, "rb") as file:
            return parse_keys(file.read())
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise Refused(f"{path} is not a file of keys: {error}.") from None


@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Keep another `add` or `remove` out: it would write what it read before ours."""
    folder = os.path.dirname(os.path.realpath(path))
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise Refused(f"{folder} cannot be opened: {error.strerror}.") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: str, keys: Sequence[Key]) -> None:
    """Replace the file in one step: a service that reads it meanwhile reads the old or the new.

    A new file is its owner's alone; one that was there keeps its owner and its mode.
    """
    path = os.path.realpath(path)
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".keys-", dir=os.path.dirname(path))
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(KEYS.dump_json(list(keys), indent=2, exclude_none=True) + b"\n")
            with suppress(FileNotFoundError):
                before = os.stat(path)
                with suppress(PermissionError):
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError):
            raise Refused(f"{path} cannot be written: {error.strerror}.") from None
        raise


if __name__ == "__main__":
    main()
