"""What the spool tells of itself: plain data, read by whoever exports it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """What the spool holds and has seen; totals count since it was opened.

    Args:
        records: accepted and not yet drained.
        bytes: on disk, in segments.
        oldest_s: seconds that the oldest of them has waited, 0.0 when there is none.
        accepted_total: records that are durable.
        refused_total: records refused because the spool is full, the oldest too old, or the disk failing.
        overage_total: records accepted although the oldest waits longer than the limit.
        drained_total: records that the database has taken.
        rejected_total: records set aside because the database refuses them for good.
        damaged_total: damaged stretches set aside.
        cut_bytes_total: bytes of writes that a crash had cut short.
        failures_total: failed writes and fsyncs.
        aside_bytes: in the folders of what was set aside.
        full: whether what was refused last, for lack of room or the age of the oldest, would be refused again.
    """

    records: int = 0
    bytes: int = 0
    oldest_s: float = 0.0
    accepted_total: int = 0
    refused_total: int = 0
    overage_total: int = 0
    drained_total: int = 0
    rejected_total: int = 0
    damaged_total: int = 0
    cut_bytes_total: int = 0
    failures_total: int = 0
    aside_bytes: int = 0
    full: bool = False
