"""The short way of the inference calls.

MLServer's app passes every request through a stack of middleware and a table of patterns, which is
a third of what a small `infer` costs. The few calls that are made thousands of times a second are
known here by their paths, and authenticated, counted and answered in the same form. All else goes
the app's way, and so do these where it has middleware that is not known here (CORS), or traces.
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
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette_exporter import PrometheusMiddleware

from ..access.authenticator import Authenticator
from ..watch.adding import Observed, value_of
from .auth import MODELS, AuthMiddleware
from .cycles import answer_to
from .origins import OriginCheck

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
        exporter: PrometheusMiddleware | None = None
        authenticator: Authenticator | None = None
        for middleware in app.user_middleware:
            kind: Any = middleware.cls
            arguments: dict[str, Any] = dict(middleware.kwargs)
            if kind is PrometheusMiddleware:
                exporter = PrometheusMiddleware(app, **arguments)
            elif kind is AuthMiddleware:
                authenticator = arguments["authenticator"]
            # What they compress the calls see to themselves; the check is of sockets.
            elif not issubclass(kind, GZipMiddleware | OriginCheck):
                return
        for name, answer in calls.items():
            counted: ASGIApp = _Counted(name, answer, exporter, errors)
            if authenticator is not None:
                counted = AuthMiddleware(counted, authenticator)
            self._calls[name] = counted

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http" and scope["method"] == "POST" and answer_to(scope):
            path: str = scope["path"].removeprefix(scope.get("root_path", ""))
            if path.startswith(MODELS):
                segments = path[len(MODELS) :].split("/")
                answer = self._calls.get(segments[-1])
                if answer is not None and _set_model(scope, segments):
                    return answer(scope, receive, send)
        return self._app(scope, receive, send)


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
            in_progress = exporter.requests_in_progress.labels("POST", exporter.app_name)
            self._in_progress = value_of(in_progress)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        cycle = answer_to(scope)
        assert cycle is not None
        begin = perf_counter()
        if self._in_progress is not None:
            self._in_progress.inc(1)
        failed = 0
        try:
            await self._answer(scope, receive, send)
        except Exception as error:
            if cycle.status:
                failed = 500
                raise
            kind = next(kind for kind in self._errors if isinstance(error, kind))
            response = await self._errors[kind](Request(scope, receive), error)
            await response(scope, receive, send)
            if kind is Exception:  # unforeseen: the server logs it
                failed = 500
                raise
        finally:
            if self._in_progress is not None:
                self._in_progress.inc(-1)
                status = failed or cycle.status or CLIENT_CLOSED_REQUEST
                requests, seconds = self._of(scope, status)
                requests.inc(1)
                seconds.observe(max(0.0, cycle.written - begin))

    def _of(self, scope: Scope, status: int) -> tuple[Any, Any]:
        which = len(scope["path_params"]) - 1
        found = self._handles.get((which, status))
        if found is None:
            assert self._exporter is not None
            labels = ("POST", self._paths[which], status, self._exporter.app_name)
            found = self._handles[which, status] = (
                value_of(self._exporter.request_count.labels(*labels)),
                Observed(self._exporter.request_time.labels(*labels)),
            )
        return found
