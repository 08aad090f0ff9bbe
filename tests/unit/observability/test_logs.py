"""Log lines: one form for everything, with the request and the trace they belong to."""

import asyncio
import io
import logging
from collections.abc import Iterator

import orjson
import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from gnn_service.observability.logs import configure_logs, logger, request_context


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the logs go; the root logger is put back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_object_with_its_values(stream: io.StringIO):
    configure_logs("info", "json", stream)
    logger("gnn_service.test").info("engine ready", seconds=0.25, batch=(1, 2))
    (line,) = lines(stream)
    assert line.pop("timestamp")
    assert line == {
        "event": "engine ready",
        "seconds": 0.25,
        "batch": [1, 2],
        "level": "info",
        "logger": "gnn_service.test",
    }


def test_lines_of_libraries_have_the_same_form(stream: io.StringIO):
    configure_logs("info", "json", stream)
    logging.getLogger("uvicorn.error").warning("lost %d of %s", 3, "them")
    (line,) = lines(stream)
    assert line["event"] == "lost 3 of them"
    assert line["level"] == "warning"


def test_what_is_below_the_level_is_not_written(stream: io.StringIO):
    configure_logs("warning", "json", stream)
    logger("a").info("small talk")
    logging.getLogger("b").info("small talk")
    assert stream.getvalue() == ""


async def test_each_task_logs_its_own_request(stream: io.StringIO):
    configure_logs("info", "json", stream)
    log = logger("a")

    async def handle(request_id: str) -> None:
        with request_context(request_id=request_id):
            await asyncio.sleep(0)
            log.info("handled", mine=request_id)

    await asyncio.gather(*(handle(f"r{index}") for index in range(5)))
    log.info("outside")
    *inside, outside = lines(stream)
    assert len(inside) == 5
    assert all(line["request_id"] == line["mine"] for line in inside)
    assert "request_id" not in outside


def test_a_line_names_the_trace_that_it_belongs_to(stream: io.StringIO):
    configure_logs("info", "json", stream)
    context = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    with trace.use_span(NonRecordingSpan(context)):
        logger("a").info("inside")
    logger("a").info("outside")
    inside, outside = lines(stream)
    assert inside["trace_id"] == f"{0xABC:032x}"
    assert inside["span_id"] == f"{0xDEF:016x}"
    assert "trace_id" not in outside


def test_an_exception_stays_in_its_one_line(stream: io.StringIO):
    configure_logs("info", "json", stream)
    try:
        raise RuntimeError("broken")
    except RuntimeError as error:
        logger("a").error("crashed", exc_info=error)
    (line,) = lines(stream)
    assert "RuntimeError: broken" in str(line["exception"])


def test_a_file_gets_json_and_a_terminal_gets_readable_lines(stream: io.StringIO):
    configure_logs("info", "auto", stream)
    logger("a").info("hello")
    assert lines(stream)[0]["event"] == "hello"
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    configure_logs("info", "auto", terminal)
    logger("a").info("hello")
    assert "hello" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")


def test_configuring_twice_writes_each_line_once(stream: io.StringIO):
    configure_logs("info", "json", stream)
    configure_logs("info", "json", stream)
    logger("a").info("once")
    assert len(lines(stream)) == 1
