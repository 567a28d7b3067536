"""`mlserver-streaming` itself: its sub-commands by name, each imported when it is run."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import NamedTuple

import click

from ..extras import DISTRIBUTION, MissingExtraError

ROOM = __package__
# Named by text: the package's other rooms know no client.
CLIENTS = "mlserver_streaming.clients"
TEXT, GRPC = "text", "--grpc"


class SubCommand(NamedTuple):
    """Where a sub-command's `main` is, and what it does."""

    module: str
    help: str


SUB_COMMANDS = {
    "init": SubCommand(f"{ROOM}.init", "Make a folder that serves a model of your own at once."),
    "check": SubCommand(f"{ROOM}.check", "Say what a folder would serve, and what would not work."),
    "start": SubCommand(f"{ROOM}.start", "Serve a folder, whatever its settings.json names."),
    "keys": SubCommand("mlserver_streaming.access.keys", "Make, list and remove API keys."),
    TEXT: SubCommand(f"{CLIENTS}.sse_client", "Stream a model's text."),
    "video": SubCommand(f"{CLIENTS}.video_client", "Stream a video through a model."),
    "speech": SubCommand(f"{CLIENTS}.speech_client", "Recognise speech."),
}
TEXT_OVER_GRPC = SubCommand(f"{CLIENTS}.grpc_client", "")


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUB_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return load(SUB_COMMANDS[cmd_name]) if cmd_name in SUB_COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Click would import them all for a line of each.
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.help) for name, each in SUB_COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] != TEXT:
            return super().resolve_command(ctx, args)
        # Two clients under one name, each with its own options.
        name, *rest = args
        over_grpc = GRPC in _before_dashes(rest)
        command = copy.copy(load(TEXT_OVER_GRPC if over_grpc else SUB_COMMANDS[TEXT]))
        command.params = [*command.params, _grpc_option()]
        return (f"{TEXT} {GRPC}" if over_grpc else name), command, rest


def load(found: SubCommand) -> click.Command:
    """The click command in a module.

    Raises:
        click.ClickException: a library that it needs is missing, or is broken.
    """
    try:
        command = import_module(found.module).main
    except MissingExtraError as error:
        raise click.ClickException(str(error)) from error
    assert isinstance(command, click.Command)
    return command


def _before_dashes(arguments: Sequence[str]) -> Sequence[str]:
    """What comes before `--`; all that follows it is no option."""
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _grpc_option() -> click.Option:
    return click.Option(
        [GRPC],
        is_flag=True,
        expose_value=False,
        help=f"Over gRPC, several prompts on one stream: see `{TEXT} {GRPC} --help`.",
    )


def _show_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"{DISTRIBUTION} {version(DISTRIBUTION)}, on mlserver {version('mlserver')}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Serve streaming models with MLServer, and ask them.

    `mlserver-streaming init mine`, then `mlserver start mine`.
    """
