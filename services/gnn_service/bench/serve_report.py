"""The figures of `bench serve` as tables: cells for the terminal, and the same in Markdown."""

from collections.abc import Iterable
from dataclasses import dataclass

from gnn_service.bench.serve import Measured, ServeBench
from gnn_service.bench.serve_cold import ColdStart
from gnn_service.bench.serve_scaling import Scaling
from gnn_service.bench.serve_stats import Bound, Run

_MISSING = "-"
_LONG_S = 60.0  # a slope through less is noise


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: what its columns are, its rows, and lines that belong under it."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def markdown(grids: Iterable[Grid]) -> str:
    """Tables for a page."""
    parts = []
    for grid in grids:
        lines = [grid.columns, tuple("---" for _ in grid.columns), *grid.rows]
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
        parts += grid.notes
    return "\n\n".join(parts)


def load_grids(bench: ServeBench) -> tuple[Grid, Grid]:
    """A row a load: what callers see, then what it costs, and under it what else there is to know."""
    runs = [run for measured in bench.measured for run in measured.runs]
    seen = Grid(
        ("target", "wire", "load", "requests/s", "p50 ms", "p95 ms", "p99 ms", "max ms", "p50 over bare", "errors"),
        tuple(_seen(run) for run in runs),
    )
    cost = Grid(
        (
            "target", "wire", "load", "CPU ms a request", "CPU efficiency", "over bare",
            "cores: service", "client", "others", "RSS MiB: before", "after", "peak",
        ),
        tuple(_cost(run) for run in runs),
        (*_notes(bench), *map(_bound_note, bench.measured)),
    )  # fmt: skip
    return seen, cost


def cold_grid(cold: ColdStart) -> Grid:
    """Two rows: with the warm-up of the settings, and with none."""
    columns = ("warm-up", "start to listening s", "first answer ms", "p50 of later ones ms", "first over p50")
    rows = []
    for warmed_up, name in ((True, "as set"), (False, "none")):
        middle = cold.medians(warmed_up=warmed_up)
        figures = (f"{middle.listening_s:.2f}", f"{middle.first_ms:.2f}", f"{middle.p50_ms:.2f}", f"{middle.ratio:.2f}")
        rows.append((name, *figures))
    ready = sorted(cold.ready_s)
    note = (
        f"medians of {len(ready)} processes each; from start to ready: {ready[len(ready) // 2]:.2f} s "
        f"({ready[0]:.2f} to {ready[-1]:.2f})"
    )
    return Grid(columns, tuple(rows), (note,))


def scaling_grids(scaling: Scaling) -> tuple[Grid, Grid]:
    """What each size costs, and how fast that grows along each axis."""
    columns = (
        "axis", "nodes", "sensors", "samples", "batch", "body kB",
        "encode us", "run us", "decode us", "callers", "requests/s", "p50 ms", "p99 ms", "CPU ms a request", "errors",
    )  # fmt: skip
    rows = tuple(
        (
            cost.axis,
            *(str(n) for n in (cost.size.nodes, cost.size.sensors, cost.size.samples, cost.size.batch)),
            f"{cost.body_bytes / 1000:.1f}",
            *(f"{us:.0f}" for us in (cost.stages.encode_us, cost.stages.run_us, cost.stages.decode_us)),
            str(cost.callers),
            f"{cost.requests_per_s:.0f}",
            f"{cost.http.p50_ms:.2f}",
            f"{cost.http.p99_ms:.2f}",
            _number(cost.cpu_ms_per_request),
            str(cost.errors),
        )
        for cost in scaling.costs
    )
    grown = tuple(
        (one.axis, *(_number(k) for k in (one.encode, one.run, one.decode, one.request_cpu))) for one in scaling.growth
    )
    names = ("axis", "encode", "run", "decode", "CPU of a request")
    return Grid(columns, rows), Grid(names, grown, ("exponents k of cost ~ size^k: 0 does not grow, 1 grows alike",))


def _load(run: Run) -> tuple[str, str, str]:
    return run.target, run.wire, f"{run.callers} callers" if run.rate_per_s is None else f"open, {run.rate_per_s:.0f}/s"


def _seen(run: Run) -> tuple[str, ...]:
    latency = run.latency
    times = (latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms)
    shown = tuple(f"{ms:.2f}" for ms in times)
    return (*_load(run), f"{run.requests_per_s:.0f}", *shown, f"{run.p50_over_bare:.1f}", str(run.errors))


def _cost(run: Run) -> tuple[str, ...]:
    memory = (_MISSING,) * 3
    if run.memory is not None:
        held = (run.memory.before_mib, run.memory.after_mib, run.memory.peak_mib)
        memory = (f"{held[0]:.0f}", f"{held[1]:.0f}", f"{held[2]:.0f}")
    figures = (run.cpu_ms_per_request, run.cpu_efficiency, run.over_bare)
    cores = (run.service_cores, run.client_cores, run.other_cores)
    return (*_load(run), *(_number(value) for value in (*figures, *cores)), *memory)


def _notes(bench: ServeBench) -> Iterable[str]:
    yield f"gnn-service {bench.version}, Python {bench.python}, {bench.cpus} CPUs"
    for measured in bench.measured:
        for run in measured.runs:
            name = "{} {}, {}".format(*_load(run))
            if run.client_limited:
                yield f"{name}: the client was busy all the time; these are its figures (try more --clients)"
            if run.errors:
                yield f"{name}: ended with {', '.join(f'{what} {n}' for what, n in sorted(run.endings.items()))}"
            if run.late_p99_ms is not None:
                yield f"{name}: the sender itself was {run.late_p99_ms:.2f} ms late (p99); it counts as latency"
            if run.seconds >= _LONG_S and run.memory is not None:
                yield f"{name}: memory {run.memory.growth_mib_per_min:+.2f} MiB a minute"


def _bound_note(measured: Measured) -> str:
    before, after = measured.before, measured.after
    return (
        f"{measured.target} {measured.wire}, {measured.body_bytes / 1000:.1f} kB: {before.runtime}, bare, windows/s at"
        f" batch 1 and {before.full.batch}: {_speeds(before)} before, {_speeds(after)} after"
    )


def _speeds(bound: Bound) -> str:
    return f"{bound.one.windows_per_s:.0f} and {bound.full.windows_per_s:.0f}"


def _number(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.2f}"
