"""What a folder would serve, and what would not work, told without serving it."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
from mlserver.repository.factory import ModelRepositoryFactory
from mlserver.settings import ModelSettings, Settings

from ..discovery import MODELS_FOLDER, find_models
from ..extras import DISTRIBUTION
from ..ports import cannot_listen, is_free
from ..repository import ModelSettingsRepository
from ..settings import SETTINGS_FILE, StreamingSettings
from . import settings_read
from .folder import argument, read_settings
from .made_runtime import make_runtimes
from .module_names import shared_names
from .report import Report
from .secret_files import check_cache, check_keys, check_store, check_tls, check_tokens


@click.command()
@argument
def main(folder: Path) -> None:
    """Say what the folder DIR would serve and by what, and what would not work.

    Nothing is started and no model is loaded; each model's class is made in a process of its own.
    Exit status 1 where something would not work: each such problem is a line that says what to do.
    """
    report = Report()
    click.echo(
        f"{folder}: {DISTRIBUTION} {version(DISTRIBUTION)}, mlserver {version('mlserver')}, "
        f"Python {platform.python_version()}"
    )
    try:
        _check(folder, report)
    except click.ClickException as error:
        report.problems.append(error.message)
    for line in report.lines():
        click.echo(line)
    raise SystemExit(1 if report.problems else 0)


def _check(folder: Path, report: Report) -> None:
    settings = read_settings(folder)
    streaming = _read_streaming(folder, report)
    named = settings.model_repository_implementation
    _check_models(folder, settings, report)
    _check_settings(folder, settings, streaming, report)
    _check_ports(settings, streaming, report)
    if streaming is not None:
        check_tls(streaming.tls, folder, report)
        check_keys(streaming.auth, folder, report)
        check_tokens(streaming.auth, folder, report)
        check_cache(streaming.cache, folder, report)
        check_store(streaming.resume.store, folder, report)
    if named is None:
        report.notes.append(
            f"Start it with `{DISTRIBUTION} start {folder}`: `mlserver start` serves with this "
            f"project only where {SETTINGS_FILE} names its model repository."
        )
    elif named is not ModelSettingsRepository:
        report.notes.append(
            f"Start it with `{DISTRIBUTION} start {folder}`: {SETTINGS_FILE} names a model "
            "repository of its own, which finds the models."
        )


def _read_streaming(folder: Path, report: Report) -> StreamingSettings | None:
    try:
        return StreamingSettings.read(str(folder))
    except SystemExit as error:
        report.problems.append(str(error))
        return None


def _check_models(folder: Path, settings: Settings, report: Report) -> None:
    named = settings.model_repository_implementation
    models: list[ModelSettings]
    if named is None or named is ModelSettingsRepository:
        found = find_models(str(folder))
        models, way = [model.settings for model in found.models], found.way
        passed = [(each.name, each.file, each.reason) for each in found.passed_over]
        report.problems += [str(each) for each in found.faults]
        elsewhere = found.elsewhere
    else:
        settings.model_repository_root = str(folder)
        models, way = _of_repository(settings), f"by {named.__name__}"
        passed, elsewhere = [], []
    made = make_runtimes(folder, models)
    rows = [
        (
            model.name,
            f"version {model.version}" if model.version else "no version",
            model.implementation_,
            _inside(folder, each.file) if each.file else "cannot be loaded",
        )
        for model, each in zip(models, made, strict=True)
    ]
    report.section(f"Models, looked for {way}", rows or [("none",)])
    if passed:
        report.section("Passed over", passed)
    report.problems += [_with_advice(each.error) for each in made if each.error]
    if not models:
        there = f" There is one in {', '.join(elsewhere)}." if elsewhere else ""
        report.problems.append(
            f"No model is found {way}.{there} Put each model's model-settings.json in a folder of "
            f"its own below {folder / MODELS_FOLDER}."
        )
    elif not settings.load_models_at_startup:
        report.notes.append("load_models_at_startup is false: each model waits for its load call.")
    report.notes += [
        f"Each of {', '.join(where)} has a module '{name}'. Each model gets its own by an import "
        f'statement; importlib.import_module("{name}") gets the first.'
        for name, where in shared_names(folder, models)
    ]


def _with_advice(error: str) -> str:
    if "No module named" in error:
        return f"{error}. Install it where the service runs, or put it into the model's folder."
    return f"{error.rstrip('.')}. Correct it and check again."


def _of_repository(settings: Settings) -> list[ModelSettings]:
    """The models that a repository of somebody's own finds; it may raise anything."""

    async def found() -> list[ModelSettings]:
        repository = ModelRepositoryFactory.resolve_model_repository(settings)
        models: list[ModelSettings] = await repository.list()
        return models

    try:
        return asyncio.run(found())
    except Exception as error:
        raise click.ClickException(
            f"The model repository that {SETTINGS_FILE} names finds no models: "
            f"{type(error).__name__}: {error}"
        ) from error


def _check_settings(
    folder: Path, settings: Settings, streaming: StreamingSettings | None, report: Report
) -> None:
    rows = list(settings_read.of_mlserver(settings, folder))
    rows += settings_read.of_streaming(streaming) if streaming is not None else ()
    if rows:
        report.section("Settings that differ from the defaults, and where they were read", rows)
    if settings.debug and "debug" in settings.model_fields_set:
        report.notes.append("debug is true: whoever calls may be shown tracebacks.")
    report.notes += [
        f"'{name}' in {SETTINGS_FILE} is no setting of MLServer, and nobody reads it."
        for name in settings_read.unknown_to_mlserver(folder)
    ]


def _check_ports(settings: Settings, streaming: StreamingSettings | None, report: Report) -> None:
    rows: list[tuple[str, str, str]] = []
    by_number: dict[int, str] = {}
    for name, port in _ports(settings, streaming):
        said = "free"
        if port in by_number:
            said = "twice"
            report.problems.append(
                f"'{by_number[port]}' and '{name}' are both port {port}; change one."
            )
        elif not is_free(settings.host, port):
            said = "taken"
            report.problems.append(str(cannot_listen(settings.host, port)))
        by_number[port] = name
        rows.append((str(port), name, said))
    report.section(f"Ports of {settings.host}", rows)


def _ports(settings: Settings, streaming: StreamingSettings | None) -> Iterator[tuple[str, int]]:
    yield "http_port", settings.http_port
    yield "grpc_port", settings.grpc_port
    if settings.metrics_endpoint:
        yield "metrics_port", settings.metrics_port
    if streaming is not None and streaming.triton_port is not None:
        yield "streaming.triton_port", streaming.triton_port


def _inside(folder: Path, file: str) -> str:
    """A file's path from the folder on, where it lies in it."""
    path, root = os.path.abspath(file), os.path.abspath(folder)
    return os.path.relpath(path, root) if path.startswith(root + os.sep) else path
