"""The short way of the inference calls.

MLServer's app passes every request through a stack of middleware and a table of patterns, which is
a third of what a small `infer` costs. The few calls that are made thousands of times a second are
known here by their paths, and authenticated, counted and answered in the same form. All else goes
the app's way, and so do these where it has middleware that is not known here (CORS, traces).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any
from urllib.parse import unquote

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette_exporter import PrometheusMiddleware

from .auth import MODELS, AuthMiddleware

ErrorHandlers = Mapping[Any, Callable[[Request, Any], Awaitable[Response]]]
VERSIONS = "versions"
# Who is gone before an answer, as the exporter counts it.
CLIENT_CLOSED_REQUEST = 499


class ShortWay:
    """Before an app that can answer all calls, as slowly as it may."""

    def __init__(self, app: FastAPI, calls: Mapping[str, ASGIApp], errors: ErrorHandlers):
        """
        Args:
            calls: by the last part of their paths: `/v2/models/{name}[/versions/{version}]/{call}`.
            errors: makes the answer to an error, by its class; the first that fits.
        """
        self._app = app
        self._calls: dict[str, ASGIApp] = {}
        wrappers: list[Callable[[ASGIApp], ASGIApp]] = []
        exporter: PrometheusMiddleware | None = None
        for middleware in app.user_middleware:
            kind: Any = middleware.cls
            arguments: dict[str, Any] = dict(middleware.kwargs)
            if kind is PrometheusMiddleware:
                exporter = PrometheusMiddleware(app, **arguments)
            elif kind is AuthMiddleware or issubclass(kind, GZipMiddleware):
                wrappers.append(_wrapper(kind, arguments))
            else:
                return
        for name, answer in calls.items():
            counted: ASGIApp = _Counted(name, answer, exporter, errors)
            for wrap in reversed(wrappers):
                counted = wrap(counted)
            self._calls[name] = counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            path: str = scope["path"].removeprefix(scope.get("root_path", ""))
            if path.startswith(MODELS):
                segments = path[len(MODELS) :].split("/")
                answer = self._calls.get(segments[-1])
                if answer is not None and _set_model(scope, segments):
                    await answer(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def _wrapper(kind: Any, arguments: Mapping[str, Any]) -> Callable[[ASGIApp], ASGIApp]:
    return lambda app: kind(app, **arguments)


def _set_model(scope: Scope, segments: list[str]) -> bool:
    """Tell the call which model it is for, as a route would."""
    if len(segments) == 2:
        found = {"model_name": unquote(segments[0])}
    elif len(segments) == 4 and segments[1] == VERSIONS and segments[2]:
        found = {"model_name": unquote(segments[0]), "model_version": unquote(segments[2])}
    else:
        return False
    scope["path_params"] = found
    return bool(segments[0])


class _Counted:
    """A call, counted as the exporter counts it, from handles that are looked up once."""

    def __init__(
        self,
        name: str,
        answer: ASGIApp,
        exporter: PrometheusMiddleware | None,
        errors: ErrorHandlers,
    ):
        self._answer = answer
        self._errors = errors
        self._exporter = exporter
        self._paths = [f"{MODELS}{{model_name}}/{name}"]
        self._paths.append(f"{MODELS}{{model_name}}/{VERSIONS}/{{model_version}}/{name}")
        self._handles: dict[tuple[int, int], tuple[Any, Any]] = {}
        self._in_progress: Any = None
        if exporter is not None:
            self._in_progress = exporter.requests_in_progress.labels("POST", exporter.app_name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin = end = perf_counter()
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status, end
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                end = perf_counter()
            await send(message)

        if self._in_progress is not None:
            self._in_progress.inc()
        try:
            await self._answered(scope, receive, watched, lambda: bool(status))
        except Exception:
            status = 500
            raise
        finally:
            if self._in_progress is not None:
                self._in_progress.dec()
                requests, seconds = self._of(scope, status or CLIENT_CLOSED_REQUEST)
                requests.inc()
                seconds.observe(end - begin)

    async def _answered(
        self, scope: Scope, receive: Receive, send: Send, has_begun: Callable[[], bool]
    ) -> None:
        try:
            await self._answer(scope, receive, send)
        except Exception as error:
            if has_begun():
                raise
            kind = next(kind for kind in self._errors if isinstance(error, kind))
            response = await self._errors[kind](Request(scope, receive), error)
            await response(scope, receive, send)
            if kind is Exception:  # unforeseen: the server logs it
                raise

    def _of(self, scope: Scope, status: int) -> tuple[Any, Any]:
        which = len(scope["path_params"]) - 1
        found = self._handles.get((which, status))
        if found is None:
            assert self._exporter is not None
            labels = ("POST", self._paths[which], status, self._exporter.app_name)
            found = self._handles[which, status] = (
                self._exporter.request_count.labels(*labels),
                self._exporter.request_time.labels(*labels),
            )
        return found
