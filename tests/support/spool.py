"""What the tests of the spool share: settings with small bounds, and records that say who they are."""

from pathlib import Path
from typing import Any

from gnn_service.core.config_spool import SpoolSettings
from gnn_service.core.errors import GnnServiceError
from gnn_service.db.spool_log import Entry, SpoolLog


def spool_settings(**values: Any) -> SpoolSettings:
    """Bounds below those that a user may set, so that a test reaches them soon."""
    known = SpoolSettings().model_dump() | {"commit_wait_ms": 1.0} | values
    return SpoolSettings.model_construct(**known)


def entry(number: int, size: int = 40, kind: str = "test") -> Entry:
    text = f"{number}:".encode()
    return kind, text + b"x" * (size - len(text))


def number_of(payload: bytes) -> int:
    return int(payload.partition(b":")[0])


def open_log(folder: Path, **values: Any) -> SpoolLog:
    return SpoolLog(folder, spool_settings(**values))


def appended(log: SpoolLog, *numbers: int, size: int = 40) -> int:
    """Each number as a record of its own in one group; its last sequence number."""
    (outcome,) = log.append([[entry(number, size) for number in numbers]])
    if isinstance(outcome, GnnServiceError):
        raise outcome
    return outcome


def waiting(log: SpoolLog, bytes_max: int = 2**20) -> list[int]:
    """The numbers of what is next to drain."""
    return [number_of(record.payload) for record in log.read(bytes_max)]


def drained(log: SpoolLog, bytes_max: int = 100) -> list[int]:
    """Drain everything, in steps; the numbers in order."""
    numbers: list[int] = []
    while records := log.read(bytes_max):
        numbers += [number_of(record.payload) for record in records]
        log.advance(records[-1].sequence + 1)
    return numbers


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spool"))
