"""Traces on their way out: a real OTLP/HTTP receiver gets what the service and its engine did for a caller."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.trace import SpanKind

from gnn_service.cli.serve import running_service
from gnn_service.client import Client
from gnn_service.core.config import load_settings
from gnn_service.core.errors import UnknownMachineError
from gnn_service.observability import tracing
from gnn_service.recordings.folder import read_recording
from gnn_service.recordings.windows import cycle_windows


class Receiver:
    """Collects spans that are posted to ``url``."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.paths: set[str] = set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.paths.add(self.path)
                request = ExportTraceServiceRequest()
                request.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
                receiver.requests.append(request)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield receiver
    receiver.server.shutdown()
    thread.join(10)
    receiver.server.server_close()


async def test_spans_reach_the_receiver_with_their_parents_links_and_errors(receiver: Receiver):
    running = tracing.start_tracing(receiver.url, version="1.2.3", service="probe")
    with tracing.span("request", kind=SpanKind.SERVER, attributes={"a": 1}):
        link = tracing.link_to_current()
        with tracing.span("child"):
            pass
    assert link is not None
    with pytest.raises(ValueError, match="bad"), tracing.span("batch", links=[link]):
        raise ValueError("bad")
    await running.stop()
    request, child, batch = (receiver.named(name)[0] for name in ("request", "child", "batch"))
    assert child.parent_span_id == request.span_id
    assert child.trace_id == request.trace_id
    assert attributes(request)["a"] == 1
    assert batch.links[0].span_id == request.span_id
    assert batch.parent_span_id == b""
    assert batch.status.code == 2
    assert attributes(batch)["error.type"] == "ValueError"
    resource = {a.key: a.value.string_value for a in receiver.requests[0].resource_spans[0].resource.attributes}
    assert resource["service.name"] == "probe"
    assert resource["service.version"] == "1.2.3"


async def test_a_traced_caller_s_trace_is_continued(receiver: Receiver):
    running = tracing.start_tracing(receiver.url, version="1")
    with tracing.span("caller"):
        headers = tracing.outgoing_headers()
    with tracing.span("service", parent=tracing.caller_context(headers)):
        pass
    await running.stop()
    assert receiver.named("service")[0].parent_span_id == receiver.named("caller")[0].span_id


async def test_a_receiver_without_a_path_gets_the_standard_one(receiver: Receiver):
    running = tracing.start_tracing(receiver.url.removesuffix("/v1/traces"), version="1")
    with tracing.span("any"):
        pass
    await running.stop()
    assert receiver.paths == {"/v1/traces"}


async def test_nothing_is_traced_unless_asked():
    with tracing.span("idle") as span:
        assert not span.is_recording()
        assert tracing.link_to_current() is None
        assert tracing.outgoing_headers() == {}
    assert not trace.get_current_span().get_span_context().is_valid


async def test_a_share_of_none_sends_nothing(receiver: Receiver):
    running = tracing.start_tracing(receiver.url, version="1", sample_ratio=0.0)
    with tracing.span("unsampled"):
        pass
    await running.stop()
    assert receiver.spans == []


async def test_a_receiver_that_is_away_neither_blocks_nor_fails_a_request():
    running = tracing.start_tracing("http://127.0.0.1:9/v1/traces", version="1", timeout_s=0.2)
    with tracing.span("lost"):
        pass
    async with asyncio.timeout(20):
        await running.stop(0.2)


async def test_a_diagnosis_is_one_trace_from_the_caller_to_the_batch(receiver: Receiver, root: Path):
    recording = read_recording(root / "services/gnn_service/demo/data/uci_hydraulic_slice")
    window = next(cycle_windows(recording))
    settings = load_settings(
        api={"port": 0}, observability={"tracing_enabled": True, "otlp_endpoint": receiver.url, "service_name": "rig"}
    )
    async with running_service(settings) as url, Client(url) as client:
        with tracing.span("caller"):
            await client.diagnose(recording.machine.id, window)
        with pytest.raises(UnknownMachineError):
            await client.diagnose("press-7", window)
        await client.ready()
    caller = receiver.named("caller")[0]
    ours = {span.name: span for span in receiver.spans if span.trace_id == caller.trace_id}
    request, diagnosis = ours["POST /v1/diagnose"], ours["diagnose"]
    waiting = ours["engine.request"]
    assert request.parent_span_id == caller.span_id
    assert diagnosis.parent_span_id == request.span_id
    assert waiting.parent_span_id == diagnosis.span_id
    assert attributes(request)["http.response.status_code"] == 200
    assert attributes(request)["http.route"] == "/v1/diagnose"
    assert attributes(diagnosis)["gnn.machine"] == recording.machine.id
    batches = [span for span in receiver.named("engine.batch") if span.links]
    assert waiting.span_id in {link.span_id for batch in batches for link in batch.links}
    refused = [
        span for span in receiver.named("POST /v1/diagnose") if attributes(span)["http.response.status_code"] == 404
    ]
    assert len(refused) == 1
    assert not [span for span in receiver.spans if "/health" in span.name]
