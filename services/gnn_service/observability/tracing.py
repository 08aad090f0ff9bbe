"""OpenTelemetry traces: the names of the spans, and where they are sent.

Off until `start_tracing` is told an OTLP receiver. The provider is this product's own, not the process-wide one,
so that starting and stopping the service leaves nothing behind; without it, spans go to whatever provider the
process was started with (`opentelemetry-instrument`), which is none by default.
Names and attributes follow the OpenTelemetry semantic conventions 1.44 where these have one.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

SCOPE = "gnn_service"
_PROPAGATOR = TraceContextTextMapPropagator()
_provider: TracerProvider | None = None


class SpanName(StrEnum):
    """Every span this product makes, except that of an HTTP request, which is named METHOD ROUTE."""

    DIAGNOSE = "diagnose"
    COMMISSION = "commission"
    ENGINE_REQUEST = "engine.request"
    ENGINE_BATCH = "engine.batch"
    DATABASE = "database"


class Tracing:
    """A running exporter; `stop` sends what is left and ends it."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider

    async def stop(self, timeout_s: float = 5.0) -> None:
        """Send what is left, for at most ``timeout_s`` seconds, and end the exporter."""
        global _provider  # noqa: PLW0603 - one exporter a process, as one process has one service
        if _provider is self._provider:
            _provider = None
        await asyncio.to_thread(self._provider.force_flush, int(timeout_s * 1000))
        await asyncio.to_thread(self._provider.shutdown)


def start_tracing(
    endpoint: str,
    *,
    version: str,
    service: str = "gnn-service",
    sample_ratio: float = 1.0,
    timeout_s: float = 5.0,
) -> Tracing:
    """Send spans to an OTLP/HTTP receiver, e.g. ``http://localhost:4318`` (``/v1/traces`` is added where no path is).

    ``sample_ratio`` is the share of traces kept (0..1) where the caller has not decided already; ``timeout_s``
    bounds one export. Spans wait in a queue of 2048; over that they are dropped, never waited for.
    """
    global _provider  # noqa: PLW0603 - see Tracing.stop
    provider = TracerProvider(
        resource=Resource.create({"service.name": service, "service.version": version}),
        sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
        shutdown_on_exit=False,
    )
    if urlsplit(endpoint).path in ("", "/"):
        endpoint = endpoint.rstrip("/") + "/v1/traces"
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=timeout_s)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter, max_queue_size=2048, schedule_delay_millis=1000, export_timeout_millis=timeout_s * 1000
        )
    )
    _provider = provider
    return Tracing(provider)


@contextmanager
def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, str | int | float | bool] | None = None,
    links: Sequence[Link] = (),
    parent: Context | None = None,
) -> Iterator[Span]:
    """A span around the block, current inside it; an exception marks it failed and passes on.

    ``parent`` None means the span that is current; ``links`` are spans it was caused by without being their
    child, as a batch by its requests.
    """
    tracer = trace.get_tracer(SCOPE, tracer_provider=_provider)
    with tracer.start_as_current_span(
        name,
        context=parent,
        kind=kind,
        attributes=dict(attributes or {}),
        links=list(links),
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except BaseException as error:
            current.set_status(Status(StatusCode.ERROR, type(error).__name__))
            current.set_attribute("error.type", type(error).__name__)
            raise


def link_to_current() -> Link | None:
    """A link to the current span, or None where nothing is being traced."""
    current = trace.get_current_span()
    if current is trace.INVALID_SPAN:
        return None
    context = current.get_span_context()
    return Link(context) if context.is_valid else None


def caller_context(headers: Mapping[str, str]) -> Context:
    """The trace that an HTTP caller is in, by its W3C ``traceparent`` header (lower-case names)."""
    return _PROPAGATOR.extract(headers)


def outgoing_headers() -> dict[str, str]:
    """The W3C headers that make a called service part of the current trace."""
    headers: dict[str, str] = {}
    _PROPAGATOR.inject(headers)
    return headers
