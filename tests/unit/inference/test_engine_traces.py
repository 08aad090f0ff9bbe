"""Spans of a request and of the batch that answered it."""

import asyncio

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gnn_service.core.errors import ModelRefusesError
from gnn_service.observability import tracing
from tests.support.inference import POISON, Factory, engine, item, until


@pytest.fixture
def spans(monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_provider", provider)
    yield exporter.get_finished_spans
    provider.shutdown()


async def test_a_batch_links_to_the_requests_it_answered(spans):
    factory = Factory()
    with tracing.span("whoever starts the engine"):
        subject = engine(factory)
        await subject.start()
    factory.now.forget()

    async def ask(value):
        with tracing.span("caller"):
            await subject.infer(item(value))

    await asyncio.gather(ask(1), ask(2), subject.infer(item(3)))
    await until(lambda: any(span.name == "engine.batch" for span in spans()))
    await subject.stop()
    callers = [span.context.span_id for span in spans() if span.name == "caller"]
    requests = [span for span in spans() if span.name == "engine.request"]
    (batch,) = [span for span in spans() if span.name == "engine.batch"]
    assert sorted(span.parent.span_id for span in requests) == sorted(callers)
    assert sorted(link.context.span_id for link in batch.links) == sorted(span.context.span_id for span in requests)
    assert batch.parent is None
    assert batch.attributes == {"batch.size": 3}


async def test_a_request_that_fails_marks_its_span(spans):
    async with engine(Factory()) as subject:
        with pytest.raises(ModelRefusesError), tracing.span("caller"):
            await subject.infer(item(POISON))
    (request,) = [span for span in spans() if span.name == "engine.request"]
    assert request.attributes == {"error.type": "ModelRefusesError"}


async def test_without_a_trace_there_is_no_span(spans):
    async with engine(Factory()) as subject:
        await subject.infer(item(1))
    assert spans() == ()
