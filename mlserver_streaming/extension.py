"""The one place where our classes take the places of MLServer's.

`mlserver.server.MLServer` composes a data plane and two edges by name; `install` binds those names
to our subclasses. What each subclass borrows from the private side of its parent is listed in
BORROWED, and a test fails, naming the one, when MLServer moves it.
"""

import re
import sys
from functools import partial
from importlib import metadata

import mlserver
import mlserver.parallel.registry
import mlserver.server
from mlserver.repository import ModelRepository
from mlserver.settings import Settings
from mlserver.tracing import get_tracer_provider

from .cache import StreamCache
from .isolation import make_model
from .management.calls import ManagementCalls
from .openai import OpenAIDialect
from .parallel.pool import StreamingPool
from .parallel.registry import StreamingPools, pools_of
from .playground import PageFiles, is_shown
from .rest.metrics_server import StreamingMetricsServer
from .rest.server import StreamingRESTServer
from .resume import Runs, share
from .rpc.server import StreamingGRPCServer
from .sockets import SocketEndpoint
from .streams.data_plane import StreamingDataPlane
from .streams.model_registry import ModelRegistry
from .streams.repository_handlers import GuardedRepositoryHandlers
from .streams.start import Start

NAME = "mlserver-streaming"
OLDEST, TOO_NEW = (1, 7, 1), (1, 8)

# "module:object.attribute" of all, here and in the subclasses, that MLServer does not document;
# an attribute of a class may be one that its instances get.
BORROWED = (
    "mlserver.server:DataPlane",
    "mlserver.server:RESTServer",
    "mlserver.server:GRPCServer",
    "mlserver.server:MetricsServer",
    "mlserver.rest:RESTServer._get_config",
    "mlserver.server:ModelRepositoryHandlers",
    "mlserver.server:MultiModelRegistry",
    "mlserver.settings:ModelSettings._source",
    "mlserver.settings:ModelSettings.implementation_",
    "mlserver.repository:SchemalessModelRepository._root",
    "mlserver.handlers:ModelRepositoryHandlers._get_state",
    "mlserver.handlers:ModelRepositoryHandlers._model_registry",
    "mlserver.handlers:ModelRepositoryHandlers._repository",
    "mlserver.handlers:ModelRepositoryHandlers._to_item",
    "mlserver.registry:MultiModelRegistry._get_model_registry",
    "mlserver.registry:SingleModelRegistry._find_model",
    "mlserver.registry:SingleModelRegistry._unload_model",
    "mlserver.parallel.registry:model_initialiser",
    "mlserver.metrics:MetricsServer._get_app",
    "mlserver.metrics:MetricsServer._get_config",
    "mlserver.handlers:DataPlane._inference_middleware",
    "mlserver.handlers:DataPlane._model_registry",
    "mlserver.handlers:DataPlane._ModelInferRequestDuration",
    "mlserver.handlers:DataPlane._ModelInferRequestFailure",
    "mlserver.handlers:DataPlane._ModelInferRequestSuccess",
    "mlserver.middleware:InferenceMiddlewares.request_middleware",
    "mlserver.middleware:InferenceMiddlewares.response_middleware",
    "mlserver.batching.adaptive:AdaptiveBatcher._predict_fn",
    "mlserver.batching.hooks:_AdaptiveBatchingAttr",
    "mlserver.context:model_context",
    "mlserver.context:model_name_var",
    "mlserver.context:model_version_var",
    "mlserver.registry:MultiModelRegistry._on_model_load",
    "mlserver.registry:MultiModelRegistry._on_model_reload",
    "mlserver.registry:MultiModelRegistry.get_model",
    "mlserver.rest:RESTServer._app",
    "mlserver.rest:RESTServer._settings",
    "mlserver.rest:RESTServer.add_custom_handlers",
    "mlserver.grpc.server:GRPCServer._create_server",
    "mlserver.grpc.server:GRPCServer._data_plane",
    "mlserver.grpc.server:GRPCServer._get_options",
    "mlserver.grpc.server:GRPCServer._model_repository_handlers",
    "mlserver.grpc.server:GRPCServer._settings",
    "mlserver.grpc.interceptors:LoggingInterceptor",
    "mlserver.grpc.interceptors:PromServerInterceptor._metrics_wrapper",
    "mlserver.grpc.interceptors:PromServerInterceptor._compute_status_code",
    "mlserver.grpc.interceptors:PromServerInterceptor._interceptor",
    "py_grpc_prometheus.grpc_utils:split_method_call",
    "py_grpc_prometheus.prometheus_server_interceptor:PromServerInterceptor._metrics",
    "py_grpc_prometheus.prometheus_server_interceptor:PromServerInterceptor._wrap_rpc_behavior",
    "py_grpc_prometheus.prometheus_server_interceptor:PromServerInterceptor."
    "_grpc_server_handled_total_counter",
    "opentelemetry.instrumentation.grpc._aio_server:"
    "OpenTelemetryAioServerInterceptor._intercept_aio_server_unary",
    "opentelemetry.instrumentation.grpc._aio_server:"
    "OpenTelemetryAioServerInterceptor._intercept_aio_server_stream",
    "mlserver.grpc.model_repository:ModelRepositoryServicer._handlers",
    "mlserver.grpc.servicers:InferenceServicer._data_plane",
    "mlserver.grpc.servicers:InferenceServicer._model_repository_handlers",
    "mlserver.rest.openapi:get_model_schema",
    "mlserver.rest.openapi:get_openapi_schema",
    "mlserver.handlers:ModelRepositoryHandlers.index",
    "mlserver.tracing:get_tracer_provider",
    "mlserver.logging:ModelLoggerFormatter",
    "mlserver.metrics:MetricsServer._app",
    "mlserver.metrics:MetricsServer._endpoint",
    "mlserver.metrics:MetricsServer._settings",
    "mlserver.metrics:MetricsServer.on_worker_stop",
    "mlserver.metrics:REGISTRY",
    "mlserver.metrics.prometheus:PrometheusEndpoint._registry",
    "mlserver.metrics.prometheus:stop_metrics",
    "mlserver.metrics.prometheus:PROMETHEUS_MULTIPROC_DIR",
    "mlserver.server:InferencePoolRegistry",
    "mlserver.registry:MultiModelRegistry._model_initialiser",
    "mlserver.parallel.registry:InferencePool",
    "mlserver.parallel.registry:InferencePoolRegistry._original_sigchld_handler",
    "mlserver.parallel.registry:InferencePoolRegistry._should_load_model",
    "mlserver.parallel.registry:InferencePoolRegistry.close",
    "mlserver.parallel.registry:InferencePoolRegistry.model_initialiser",
    "mlserver.parallel.pool:InferencePool._env",
    "mlserver.parallel.pool:InferencePool._on_worker_stop",
    "mlserver.parallel.pool:InferencePool._settings",
    "mlserver.parallel.pool:InferencePool._worker_registry",
    "mlserver.parallel.pool:InferencePool.name",
    "mlserver.parallel.pool:WorkerRegistry",
    "mlserver.parallel.dispatcher:QUEUE_METRIC_NAME",
    "mlserver.parallel.messages:ModelUpdateMessage",
    "mlserver.parallel.messages:ModelUpdateType",
    "mlserver.parallel.model:ParallelModel._send",
    "mlserver.parallel.utils:configure_inference_pool",
    "mlserver.parallel.worker:IGNORED_SIGNALS",
    "mlserver.parallel.worker:Worker._env",
    "mlserver.parallel.worker:Worker._ignore_signals",
    "mlserver.parallel.worker:Worker._settings",
    "mlserver.parallel.worker:Worker.coro_run",
    "mlserver.utils:extract_headers",
)


def data_plane(settings: Settings, model_registry: ModelRegistry) -> StreamingDataPlane:
    """The core, with the cache before it, and the worker pools that end after its streams."""
    name_service(settings)
    root = settings.model_repository_root or "."
    plane = StreamingDataPlane(settings, model_registry, partial(StreamCache, folder=root))
    plane.management = ManagementCalls(plane, settings)
    plane.resume = Runs(plane)
    share(plane.resume, plane, root)
    if settings.tracing_server:
        get_tracer_provider(settings).sampler = plane.management.traces.sampler
    model_registry.root = root
    stops = settings.load_models_at_startup and plane.streaming.on_load_error == "stop"
    model_registry.start = Start(stops, lambda: plane.calls.stopping)
    if pools := pools_of(model_registry):
        pools.before_close.append(plane.drain)
    return plane


def rest_server(
    settings: Settings,
    data_plane: StreamingDataPlane,
    model_repository_handlers: GuardedRepositoryHandlers,
) -> StreamingRESTServer:
    """The REST edge, with the other APIs that it speaks."""
    prefix = data_plane.streaming.openai.prefix
    dialects = [] if prefix is None else [OpenAIDialect(data_plane, settings, prefix)]
    routes = SocketEndpoint(data_plane).routes()
    open_paths: frozenset[str] = frozenset()
    if is_shown(data_plane.streaming.playground, settings.host):
        page = PageFiles(prefix)
        routes += page.routes()
        open_paths = page.paths
    return StreamingRESTServer(
        settings, data_plane, model_repository_handlers, dialects, routes, open_paths
    )


def repository_handlers(
    repository: ModelRepository, model_registry: ModelRegistry
) -> GuardedRepositoryHandlers:
    """The repository's calls; made after the data plane, and before anything is loaded."""
    handlers = GuardedRepositoryHandlers(repository, model_registry)
    model_registry.start.passed_over(handlers.faults)
    return handlers


def name_service(settings: Settings) -> None:
    """Let the service bear its own name and version, not MLServer's, unless the settings say
    otherwise."""
    own = {"server_name": NAME, "server_version": metadata.version(NAME)}
    for field, value in own.items():
        if field not in settings.model_fields_set:
            setattr(settings, field, value)


OURS = {
    "MultiModelRegistry": ModelRegistry,
    "DataPlane": data_plane,
    "RESTServer": rest_server,
    "GRPCServer": StreamingGRPCServer,
    "MetricsServer": StreamingMetricsServer,
    "ModelRepositoryHandlers": repository_handlers,
    "InferencePoolRegistry": StreamingPools,
}


def install() -> None:
    """Bind MLServer's collaborators to ours. Twice is as good as once.

    Raises:
        SystemExit: MLServer is outside the supported range. (Not an ImportError: pydantic, which
            runs the import, would wrap that into a page of text.)
    """
    version = tuple(int(part) for part in re.findall(r"\d+", mlserver.__version__)[:3])
    if not OLDEST <= version < TOO_NEW:
        sys.exit(
            f"mlserver {mlserver.__version__} is not supported; install a version from "
            f"{'.'.join(map(str, OLDEST))} up to, not including, {'.'.join(map(str, TOO_NEW))}."
        )
    for name, ours in OURS.items():
        setattr(mlserver.server, name, ours)
    mlserver.parallel.registry.InferencePool = StreamingPool  # type: ignore[misc]
    mlserver.parallel.registry.model_initialiser = make_model
