"""The figures of `bench store` as tables, and as a document."""

from dataclasses import asdict
from typing import Any

from gnn_service.bench.serve_report import Grid
from gnn_service.bench.store import TICKS, Spread, StoreBench


def store_grids(bench: StoreBench) -> tuple[Grid, ...]:
    """Writes, windows, and the rest with its bounds."""
    per_reading = bench.fills[-1].bytes_per_reading if bench.fills else None
    bound = None if per_reading is None else bench.bounds.readings_per_s(per_reading)
    writes = Grid(
        ("frames a write", "readings/s", "bare COPY", "repository / COPY", "write p50 ms", "p99 ms", "of the disk"),
        tuple(
            (
                str(lot.frames),
                f"{lot.repository_per_s:,.0f}",
                f"{lot.copy_per_s:,.0f}",
                f"{lot.ratio:.2f}",
                f"{lot.write.p50_ms:.2f}",
                f"{lot.write.p99_ms:.2f}",
                "-" if bound is None else f"{lot.repository_per_s / bound:.0%}",
            )
            for lot in bench.lots
        ),
        _bound_notes(bench, bound),
    )
    first = bench.fills[0].window.p50_ms if bench.fills else 1.0
    floor = bench.bounds.round_trip.p50_ms + bench.bounds.window_copy_ms
    windows = Grid(
        ("readings stored", "window p50 ms", "p99 ms", "p50 over the first", "p50 over its floor", "bytes a reading"),
        tuple(
            (
                f"{fill.readings / 1e6:g} M",
                f"{fill.window.p50_ms:.2f}",
                f"{fill.window.p99_ms:.2f}",
                f"{fill.window.p50_ms / first:.2f}",
                f"{fill.window.p50_ms / floor:.1f}",
                f"{fill.bytes_per_reading:.2f}",
            )
            for fill in bench.fills
        ),
        _one(
            f"A window is {TICKS} ticks of {bench.sensors} sensors of one of ten machines at a random time; its floor",
            f" is a round trip ({bench.bounds.round_trip.p50_ms:.2f} ms) and a copy of its values.",
        ),
    )
    history = Grid(
        ("a year of hours", "p50 ms", "p99 ms"),
        tuple((_sensors(count), *_cells(spread)) for count, spread in bench.history.items()),
        (f"{bench.server}.",),
    )
    return writes, windows, history


def store_document(bench: StoreBench) -> dict[str, Any]:
    """The same for programs."""
    document = asdict(bench)
    for lot, row in zip(bench.lots, document["lots"], strict=True):
        row["ratio"] = lot.ratio
    if bench.fills:
        smallest, largest = bench.fills[0].window.p50_ms, bench.fills[-1].window.p50_ms
        document["window_growth"] = largest / smallest
        document["bounds"]["readings_per_s"] = bench.bounds.readings_per_s(bench.fills[-1].bytes_per_reading)
    document["history"] = {str(count): spread for count, spread in document["history"].items()}
    return document


def _bound_notes(bench: StoreBench, bound: float | None) -> tuple[str, ...]:
    if bound is None or bench.bounds.sync_ms is None:
        return ("The server's disk is not here to be measured.",)
    return _one(
        f"The disk writes {bench.bounds.disk_mb_per_s:.0f} MB/s, enough for {bound:,.0f} readings/s, each written",
        f" twice; a durable write of a page takes {bench.bounds.sync_ms:.2f} ms.",
    )


def _one(*parts: str) -> tuple[str, ...]:
    return ("".join(parts),)


def _sensors(count: int) -> str:
    return "1 sensor" if count == 1 else f"{count} sensors"


def _cells(spread: Spread) -> tuple[str, str]:
    return f"{spread.p50_ms:.1f}", f"{spread.p99_ms:.1f}"
