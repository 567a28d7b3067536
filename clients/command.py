"""What all commands share: flags, each with an environment variable, and errors as one line."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from .credentials import Credentials
from .errors import ClientError
from .tls import Tls

P = ParamSpec("P")
R = TypeVar("R")

REST_PORT = 8080
GRPC_PORT = 8081
TIMEOUT_S = 30.0

# Help shows every default and every environment variable.
option = functools.partial(click.option, show_default=True, show_envvar=True)


def server_options(
    *, port: int | Mapping[str, int], model: str, timeout: float = TIMEOUT_S
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Add --host, --port, --model and --timeout with this client's defaults. Where each of several
    protocols has its own port, the command gets None for one that is left out.

    And --tls, --ca, --cert and --key, which the command gets as one `tls`: a Tls, or None; and
    --api-key and --bearer, which it gets as `credentials`.
    """
    file = click.Path(dir_okay=False, path_type=Path)
    usual, default = "", port if isinstance(port, int) else None
    if isinstance(port, Mapping):
        usual = f" (left out: {', '.join(f'{name} {each}' for name, each in port.items())})"
    options: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
        option("--host", envvar="CLIENT_HOST", default="127.0.0.1", help="Host of the server."),
        option(
            "--port",
            envvar="CLIENT_PORT",
            default=default,
            type=click.IntRange(1, 65535),
            help=f"Port of the server{usual}.",
        ),
        option("--model", envvar="CLIENT_MODEL", default=model, help="Name of the model."),
        option(
            "--timeout",
            envvar="CLIENT_TIMEOUT",
            default=timeout,
            type=click.FloatRange(min=0, min_open=True),
            help="Seconds to wait for each response.",
        ),
        option(
            "--tls", is_flag=True, envvar="CLIENT_TLS", help="Use TLS; the next three mean it too."
        ),
        option(
            "--ca",
            envvar="CLIENT_CA",
            type=file,
            help="PEM file of the CA to trust (left out: the well-known ones).",
        ),
        option("--cert", envvar="CLIENT_CERT", type=file, help="PEM file of this client's own."),
        option(
            "--key",
            envvar="CLIENT_KEY",
            type=file,
            help="PEM file of its private key (left out: it is in the certificate's).",
        ),
        option(
            "--api-key",
            envvar="CLIENT_API_KEY",
            help="API key. Better in the environment: others can see a command line.",
        ),
        option(
            "--bearer",
            envvar="CLIENT_BEARER",
            help="API key or JSON web token for the Authorization header; likewise.",
        ),
    ]

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @functools.wraps(command)
        def decorated(
            *args: Any,
            tls: bool,
            ca: Path | None,
            cert: Path | None,
            key: Path | None,
            api_key: str | None,
            bearer: str | None,
            **others: Any,
        ) -> R:
            if key is not None and cert is None:
                raise click.UsageError("--key goes with --cert")
            wanted = Tls(ca, cert, key) if tls or ca or cert else None
            with reported():
                # An empty variable is as good as none.
                credentials = Credentials(api_key or None, bearer or None)
            return command(*args, tls=wanted, credentials=credentials, **others)

        for add in reversed(options):
            add(decorated)
        return decorated

    return decorate


def delay_option() -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Add --delay, the text model's request parameter."""
    return option(
        "--delay",
        envvar="CLIENT_DELAY",
        type=float,
        help="Seconds that the model waits before each word, 0 to 10 (left out: its own setting).",
    )


def resumable_option() -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Add --resumable, the parameter of requests whose streams outlive their connection."""
    return option(
        "--resumable",
        is_flag=True,
        envvar="CLIENT_RESUMABLE",
        help="Ask for a stream that outlives its connection, and come back where it is cut.",
    )


@contextmanager
def reported() -> Iterator[None]:
    """Let a ClientError end the command with its one line on stderr and exit status 1."""
    try:
        yield
    except ClientError as error:
        raise click.ClickException(str(error)) from error
