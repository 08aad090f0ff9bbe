"""Structured logs: one JSON object or one readable line an event, with the request and the trace that it belongs to.

Everything goes through the standard library's root logger to stderr, so libraries (uvicorn among them) are
formatted the same way. Values bound by `request_context` reach every log line written while the request runs.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TextIO

import orjson
import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor

LogFormat = Literal["auto", "json", "console"]
_OWN_HANDLERS = ("uvicorn", "uvicorn.error", "uvicorn.access")


def configure_logs(level: str = "INFO", form: LogFormat = "auto", stream: TextIO | None = None) -> None:
    """Send every log line of this process to ``stream`` (default stderr) in one form.

    ``auto`` is console in a terminal, else JSON. Calling it again replaces what an earlier call set up.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared_processors(),
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(form, handler.stream)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _OWN_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def logger(room: str) -> structlog.stdlib.BoundLogger:
    """The logger of a room or module; events are short facts in lower case, values are keyword arguments."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(room)
    return bound


@contextmanager
def request_context(**values: str) -> Iterator[None]:
    """Bind values (the request id) to every log line of the current task and of the tasks that it starts."""
    with structlog.contextvars.bound_contextvars(**values):
        yield


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _add_trace,
    ]


def _renderers(form: LogFormat, stream: TextIO) -> list[Processor]:
    if form == "console" or (form == "auto" and stream.isatty()):
        return [structlog.dev.ConsoleRenderer(colors=stream.isatty())]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_to_json)]


def _add_trace(_: Any, __: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


def _to_json(event: EventDict, default: Callable[[Any], Any] = str, **_: Any) -> str:
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(event, default=default, option=options).decode()


# At import, so that nothing is ever printed past the standard library: a command's stdout is its answer.
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        *_shared_processors(),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=False,
)
