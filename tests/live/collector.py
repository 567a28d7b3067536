"""An OpenTelemetry collector on the loopback that keeps the spans it gets."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


class Collector:
    """What has been exported.

    Attributes:
        address: where to export to.
    """

    def __init__(self, port: int):
        self.address = f"http://127.0.0.1:{port}"
        self.spans: list[Span] = []

    def export(self, request: ExportTraceServiceRequest, context: object) -> object:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return ExportTraceServiceResponse()

    def of(self, trace: str) -> list[Span]:
        """The spans of one trace, by its id in hexadecimal digits."""
        return [span for span in self.spans if span.trace_id.hex() == trace]


@contextmanager
def collecting() -> Iterator[Collector]:
    server = grpc.server(ThreadPoolExecutor(1))
    collector = Collector(server.add_insecure_port("127.0.0.1:0"))
    export = grpc.unary_unary_rpc_method_handler(
        collector.export,
        request_deserializer=ExportTraceServiceRequest.FromString,
        response_serializer=ExportTraceServiceResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Export": export}),)
    )
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()
