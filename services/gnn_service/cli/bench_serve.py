"""`gnn-service bench serve`: the service under load, its growth with the size of machines, and its cold start."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from gnn_service.cli.console import out, print_json, print_table, progress

if TYPE_CHECKING:
    from gnn_service.bench.serve import Target
    from gnn_service.bench.serve_child import Service
    from gnn_service.bench.serve_report import Grid


class Wires(StrEnum):
    """How tensors are sent."""

    JSON = "json"
    BINARY = "binary"
    BOTH = "both"


class Targets(StrEnum):
    """What of the service is loaded."""

    DIAGNOSE = "diagnose"
    INFER = "infer"
    BOTH = "both"
    NONE = "none"


def serve(
    url: str = typer.Option(None, "--url", help="Address of a running service; without it one is started."),
    pid: int = typer.Option(None, "--pid", min=1, help="Its process, for CPU and memory; only with --url."),
    target: Targets = typer.Option(
        Targets.BOTH, "--target", help="/v1/diagnose, the bundle's network through /v2, both, or none but --onnx."
    ),
    onnx: list[str] = typer.Option(None, "--onnx", help="NAME=FILE: a plain graph to serve and load through /v2."),
    dim: list[str] = typer.Option(None, "--dim", help="NAME=N: length of an open axis of the graphs' inputs."),
    wire: Wires = typer.Option(Wires.BOTH, "--wire", help="How tensors are sent to /v2."),
    callers: list[int] = typer.Option(
        None, "--callers", min=1, max=4096, help="Callers of a closed loop; again for more.", show_default="1 to 256"
    ),
    closed: bool = typer.Option(True, "--closed/--no-closed", help="Whether to measure closed loops at all."),
    duration: float = typer.Option(5.0, "--duration", min=0.1, max=3600, help="Seconds of each closed loop."),
    rate: float = typer.Option(None, "--rate", min=0.1, max=1e6, help="Requests a second of an open loop."),
    share: float = typer.Option(
        None, "--share", min=0.01, max=2, help="The same, as a share of the most that a closed loop reached."
    ),
    open_duration: float = typer.Option(10.0, "--open-duration", min=0.1, max=86_400, help="Seconds of the open loop."),
    clients: int = typer.Option(1, "--clients", min=1, max=64, help="Processes that send."),
    scaling: bool = typer.Option(False, "--scaling", help="Instead: how cost grows with machine, window and batch."),
    cold_start: bool = typer.Option(False, "--cold-start", help="Instead: process start to ready, and first answers."),
    times: int = typer.Option(5, "--times", min=1, max=100, help="New processes of each kind for --cold-start."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead of tables."),
    as_markdown: bool = typer.Option(False, "--markdown", help="Print the tables as Markdown."),
) -> None:
    """The service under load, beside the bare model that it serves, both in one run.

    CPU efficiency (requests a CPU second of the service over windows a CPU second of the bare model) carries from
    computer to computer; requests a second and milliseconds belong to this one.
    """
    _check(url, pid, onnx, scaling=scaling, cold_start=cold_start, both=as_json and as_markdown)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started must end with this
    graphs, dims = _pairs(onnx, "--onnx"), {name: _length(n) for name, n in _pairs(dim, "--dim").items()}
    files = {name: Path(file) for name, file in graphs.items()}
    arguments = [part for name, file in files.items() for part in ("--onnx", f"{name}={file}")]
    if cold_start:
        result, grids = _cold_start(times, arguments)
    else:
        with _service(url, pid, arguments) as service:
            if scaling:
                result, grids = _scaling(service, duration)
            else:
                from gnn_service.bench.serve import CALLERS, Plan

                plan = Plan(tuple(callers or CALLERS) if closed else (), duration, rate, share, open_duration)
                targets = _targets(target, wire, files, dims)
                result, grids = _load(service, targets, plan, clients)
    _report(result, grids, as_json, as_markdown)


def _check(
    url: str | None, pid: int | None, onnx: list[str] | None, *, scaling: bool, cold_start: bool, both: bool
) -> None:
    if pid is not None and url is None:
        raise typer.BadParameter("only with --url; a service that is started here is known", param_hint="--pid")
    if scaling and cold_start:
        raise typer.BadParameter("one at a time: --scaling or --cold-start", param_hint="--scaling")
    if cold_start and url is not None:
        raise typer.BadParameter("starts the service itself; leave out --url", param_hint="--cold-start")
    if scaling and onnx:
        raise typer.BadParameter("measures diagnoses; leave out --onnx", param_hint="--scaling")
    if both:
        raise typer.BadParameter("one at a time: --json or --markdown", param_hint="--json")


@contextmanager
def _service(url: str | None, pid: int | None, arguments: list[str]) -> "Iterator[Service]":
    from gnn_service.bench.serve_child import Service, started_service, wait_until_ready

    if url is None:
        with started_service(arguments) as service:
            yield service
    else:
        wait_until_ready(url, 30.0)
        yield Service(url, pid)


def _targets(chosen: Targets, wire: Wires, graphs: dict[str, Path], dims: dict[str, int]) -> "tuple[Target, ...]":
    from gnn_service.bench.serve import bundle_target, diagnose_target, graph_target
    from gnn_service.core.config import load_settings
    from gnn_service.model.bundle import Bundle

    found = [diagnose_target()] if chosen in (Targets.DIAGNOSE, Targets.BOTH) else []
    for sent in ("json", "binary"):
        if wire not in (sent, Wires.BOTH):
            continue
        if chosen in (Targets.INFER, Targets.BOTH):
            found.append(bundle_target(Bundle.open(load_settings().model.bundle), sent))
        found += [graph_target(name, file, dims, sent) for name, file in graphs.items()]
    if not found:
        raise typer.BadParameter("leaves nothing to load; give --onnx", param_hint="--target")
    return tuple(found)


def _load(
    service: "Service", targets: "tuple[Target, ...]", plan: Any, clients: int
) -> tuple[dict[str, Any], "list[Grid]"]:
    from gnn_service.bench.serve import bench_serve
    from gnn_service.bench.serve_report import load_grids
    from gnn_service.bench.serve_workers import workers

    with workers(clients) as working, progress() as shown:
        task = shown.add_task("measuring", total=plan.steps * len(targets))
        measured = bench_serve(service, targets, plan, working, lambda: shown.advance(task))
    return asdict(measured), list(load_grids(measured))


def _scaling(service: "Service", seconds: float) -> tuple[dict[str, Any], "list[Grid]"]:
    from gnn_service.bench.serve_report import scaling_grids
    from gnn_service.bench.serve_scaling import SWEEPS, bench_scaling
    from gnn_service.bench.serve_workers import workers

    with workers(1) as working, progress() as shown:
        task = shown.add_task("measuring", total=sum(map(len, SWEEPS.values())))
        measured = bench_scaling(service, working, seconds=seconds, on_point=lambda: shown.advance(task))
    return asdict(measured), list(scaling_grids(measured))


def _cold_start(times: int, arguments: list[str]) -> tuple[dict[str, Any], "list[Grid]"]:
    from gnn_service.bench.serve import diagnose_target
    from gnn_service.bench.serve_cold import bench_cold_start
    from gnn_service.bench.serve_report import cold_grid

    with progress() as shown:
        task = shown.add_task("starting", total=3 * times)
        measured = bench_cold_start(diagnose_target().messages, times, arguments, lambda: shown.advance(task))
    return asdict(measured), [cold_grid(measured)]


def _report(result: dict[str, Any], grids: "list[Grid]", as_json: bool, as_markdown: bool) -> None:
    if as_json:
        print_json(result)
        return
    if as_markdown:
        from gnn_service.bench.serve_report import markdown

        typer.echo(markdown(grids))
        return
    for grid in grids:
        table = Table(box=None)
        for number, column in enumerate(grid.columns):
            table.add_column(column, justify="left" if number < 3 else "right")
        for row in grid.rows:
            table.add_row(*row)
        print_table(table)
        for note in grid.notes:
            out.print(note, soft_wrap=True, markup=False)


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
        pairs[name] = value
    return pairs


def _length(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is no length", param_hint="--dim")
    return int(text)
