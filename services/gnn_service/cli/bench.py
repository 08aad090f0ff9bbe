"""`gnn-service bench`: this product against its own bounds."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.table import Column, Table

from gnn_service.cli import bench_serve, bench_store
from gnn_service.cli.console import out, print_json, print_table, progress

if TYPE_CHECKING:
    from gnn_service.demo.systems import System

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Measure this product against its own bounds.")
app.command()(bench_serve.serve)
app.command()(bench_store.store)


@app.callback()
def _bench() -> None:
    """Measure this product against its own bounds."""


@app.command()
def model(
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead of a table."),
    seconds: float = typer.Option(10.0, "--seconds", min=0.2, max=600, help="Seconds to measure for."),
) -> None:
    """Latency of the model (by default the shipped one) through the engine, beside the same model in a tight loop.

    The ratios (engine over bare) carry from machine to machine; the milliseconds belong to this one.
    """
    from gnn_service.bench.model import ROUNDS, bench_model
    from gnn_service.core.config import load_settings
    from gnn_service.inference.runtimes.choose import runtime_factory
    from gnn_service.inference.runtimes.source import Source
    from gnn_service.model.bundle import Bundle

    settings = load_settings()
    bundle = Bundle.open(settings.model.bundle)
    item, expected = bundle.canary
    with progress() as shown:
        task = shown.add_task("measuring", total=ROUNDS)
        measured = asyncio.run(
            bench_model(
                runtime_factory(Source.of_bundle(bundle), settings),
                item,
                expected,
                settings.inference,
                seconds=seconds,
                on_round=lambda: shown.advance(task),
            )
        )
    if as_json:
        print_json({"bundle": bundle.version, **asdict(measured)})
        return
    table = Table("callers", "", "p50 ms", "p99 ms", "windows/s", box=None)
    for at in measured.comparisons:
        for name, speed in (("engine", at.engine), (f"bare, batch {at.bare_batch}", at.bare)):
            callers = str(at.callers) if speed is at.engine else ""
            table.add_row(callers, name, f"{speed.p50_ms:.2f}", f"{speed.p99_ms:.2f}", f"{speed.windows_per_s:.0f}")
        ratio = at.ratio
        figures = (f"{ratio.p50:.2f}", f"{ratio.p99:.2f}", f"{ratio.windows_per_s:.2f}")
        table.add_row("", "engine / bare", *figures, style="bold", end_section=True)
    out.print(table)
    out.print(
        f"bundle {bundle.version}, {measured.runtime} on {measured.device}, {measured.threads} thread(s),"
        f" batches of up to {measured.batch_max}; {measured.windows} windows in {measured.seconds:.1f} s,"
        " engine and bare in turns",
        soft_wrap=True,
    )


@app.command()
def simulate(
    machines: list[str] = typer.Argument(None, help="Which of the simulated machines; none takes all."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead of a table."),
    seconds: float = typer.Option(1.0, "--seconds", min=0.2, max=600, help="CPU seconds for each figure."),
    batch: list[int] = typer.Option(None, "--batch", min=1, max=65_536, help="Machines side by side; again for more."),
    separability: bool = typer.Option(
        False, "--separability", help="Instead of speed: how well a limit on one sensor finds each small fault."
    ),
) -> None:
    """Machine-hours that a minute of one core simulates, with and without sensors, and the cost of a machine-step.

    Figures are of this process's CPU time: other work on the computer does not count, but its load on the memory does.
    """
    from gnn_service.bench.simulate import BATCHES, bench_simulate, points
    from gnn_service.demo.systems import get_system, list_systems

    systems = [get_system(name) for name in dict.fromkeys(machines or list_systems())]
    if separability:
        if batch:
            raise typer.BadParameter("is of speed, not for --separability", param_hint="--batch")
        _separability(systems, as_json)
        return
    batches = tuple(sorted(set(batch))) if batch else BATCHES
    with progress() as shown:
        task = shown.add_task("measuring", total=points(len(systems), batches))
        costs = bench_simulate(systems, batches=batches, seconds=seconds, on_point=lambda: shown.advance(task))
    if as_json:
        print_json({"costs": [asdict(cost) for cost in costs]})
        return
    table = Table(box=None)
    for name in (
        "machine",
        "side by side",
        "simulated s",
        "sensors",
        "machine-hours a CPU-minute",
        "us a machine-step",
    ):
        table.add_column(name, justify="left" if name in ("machine", "sensors") else "right")
    for cost in costs:
        table.add_row(
            cost.machine,
            str(cost.batch),
            f"{cost.horizon_s:.0f}",
            "measured" if cost.sensors else "perfect",
            f"{cost.machine_hours_per_cpu_minute:.0f}",
            f"{cost.us_per_machine_step:.2f}",
        )
    print_table(table)


def _separability(systems: Sequence["System"], as_json: bool) -> None:
    """Print the best limit on one sensor for each failure mode, and why some of them are found by it."""
    from gnn_service.demo.separability import EARLY, EASY_AUC, separability

    with progress() as shown:
        task = shown.add_task("simulating fleets", total=len(systems))
        found = []
        for system in systems:
            found += [(system, system.mode(one.mode), one) for one in separability(system)]
            shown.advance(task)
    if as_json:
        rows = [
            asdict(one) | {"machine": system.name, "easy": one.easy, "given_away": mode.given_away}
            for system, mode, one in found
        ]
        print_json({"severity": EARLY, "easy_from_auc": EASY_AUC, "separability": rows})
        return
    table = Table("machine", "mode", "", "best sensor", Column("AUC", justify="right"), "a limit finds it", box=None)
    for system, mode, one in found:
        table.add_row(system.name, one.mode, mode.name, one.sensor, f"{one.auc:.3f}", "yes" if one.easy else "")
    print_table(table)
    low, high = EARLY
    out.print(
        f"AUC of single samples, faulty machines at severity {low:g} to {high:g} against healthy ones at the same work;"
        f" a limit finds a fault from {EASY_AUC:g} on. Why some are given away:",
        soft_wrap=True,
    )
    for system, mode, _ in found:
        if mode.given_away:
            out.print(f"  {system.name} {mode.id}: {mode.given_away}", soft_wrap=True, markup=False)
