"""`gnn-service demo`: the service and a feed of cycles in one process, until Ctrl-C or until all is shown.

The cycles are real ones of a test rig, or of a simulated machine in which a fault grows.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live

from gnn_service.cli.console import err, out, print_json
from gnn_service.cli.main import DONE
from gnn_service.cli.serve import run_loop, running_service, stop_signals
from gnn_service.client import Client
from gnn_service.core.config import load_settings
from gnn_service.demo.feed import Cycle, Replayed, cycles_of, only_fault, replay, split_for_commissioning
from gnn_service.demo.score import Score
from gnn_service.demo.table import live_table, plain_line, print_summary
from gnn_service.domain.machine import Machine
from gnn_service.model.bundle import Bundle
from gnn_service.observability.logs import configure_logs
from gnn_service.recordings.folder import read_recording

app = typer.Typer()
RIG = "rig"
COMMISSIONING_CYCLES = 10
_READY_WITHIN_S = 60.0
_UNWATCHED_S = 55.0  # a run that nobody watches ends within a minute of its first diagnosis
_WATCHED_PAUSE_S = 0.25  # a person can follow four cycles a second


@app.command()
def demo(
    machine: Annotated[
        str, typer.Argument(help="rig, a real hydraulic test rig; or excavator, moulding, cnc, robot, simulated.")
    ] = RIG,
    fault: Annotated[
        str | None, typer.Option(help="Replay only the rig's cycles with this failure mode; or let it grow, e.g. E1.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, max=1e6, help="End by itself after so long.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON, and nothing else.")] = False,
) -> int:
    """Start the service, send cycles through it and show each diagnosis beside the truth.

    In a terminal it stays up until Ctrl-C; without one, or with --minutes, it ends by itself.
    """
    configure_logs("error", "auto")  # warnings, as of a slow disk, are for those who run the service
    shown = _rig(fault) if machine == RIG else _simulated(machine, fault, quiet=as_json)
    return run_loop(_until_stopped(_Demo(shown, minutes=minutes, as_json=as_json)))


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a demo feeds: healthy cycles to commission from, the others, and a remark on what to expect."""

    machine: Machine
    healthy: Sequence[Cycle]
    cycles: Sequence[Cycle]
    remark: str = ""


def _rig(fault: str | None) -> _Shown:
    recording = read_recording(Path(str(files("gnn_service.demo") / "data" / "uci_hydraulic_slice")))
    healthy, cycles = split_for_commissioning(cycles_of(recording), COMMISSIONING_CYCLES)
    if fault is not None:
        cycles = only_fault(cycles, recording.machine, fault)
    return _Shown(recording.machine, healthy, cycles)


def _simulated(machine: str, fault: str | None, *, quiet: bool) -> _Shown:
    from gnn_service.demo.showcase import showcase
    from gnn_service.demo.systems import get_system, list_systems

    if machine not in list_systems():
        known = ", ".join((RIG, *list_systems()))
        raise typer.BadParameter(f"there is no demo of {machine!r}; there is: {known}", param_hint="MACHINE")
    system = get_system(machine)
    bundle = Bundle.open(load_settings().model.bundle)
    with nullcontext() if quiet else err.status(f"simulating the {machine} ..."):
        shown = showcase(system, fault)
    seen = "at none of them" if shown.visible_from is None else f"from severity {shown.visible_from:g} on"
    remark = (
        f"{shown.mode.id}: {shown.mode.name} ({shown.mode.component}), severity 0 to 1, machine in {shown.state}."
        f" Sensors without noise tell it from healthy {seen}."
    )
    if system.machine.id not in bundle.machines:
        remark += f" {_how_far(system.machine, shown.mode.mode, bundle)}"
    return _Shown(system.machine, shown.healthy, shown.cycles, remark)


def _how_far(machine: Machine, fault: str, bundle: Bundle) -> str:
    """What to expect of a model that has never seen a machine of this kind."""
    types = {component.id: component.type for component in machine.components}
    known = [m.id for m in machine.failure_modes if f"{types[m.component]}.{m.mode}" in bundle.vocabulary.modes]
    count = f"{len(known)} of its {len(machine.failure_modes)} failure modes"
    words = f"It knows {count}{', this one too' if fault in known else ', this one is not among them'}."
    trained = ", ".join(bundle.machines)
    return (
        f"The model was trained on {trained} alone and has never seen a machine of this kind."
        f" {words if known else 'It knows none of its failure modes.'}"
        " This shows how far that goes; what it says of this machine is not validated."
    )


@contextmanager
def _data_folder() -> Iterator[dict[str, Any]]:
    """Settings of the database: a folder of the demo's own, gone afterwards, where the user has not named a place."""
    chosen = load_settings().database
    if chosen.url is not None or chosen.data_dir is not None:
        yield {"enabled": True}
        return
    folder = Path(tempfile.mkdtemp(prefix="gnn-demo-"))
    try:
        folder.chmod(0o755)  # root's PostgreSQL runs as another user, who has to pass
        yield {"enabled": True, "data_dir": folder}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _until_stopped(demo: "_Demo") -> int:
    with stop_signals() as stopped:
        work = asyncio.create_task(demo.run())
        either: set[asyncio.Future[Any]] = {work, stopped}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        else:
            work.cancel()
            await asyncio.wait({work})
    demo.summarise()
    return DONE


class _Demo:
    """One run: starts the service, feeds it, shows what comes back, and stops what it started."""

    def __init__(
        self,
        shown: _Shown,
        *,
        minutes: float | None,
        as_json: bool,
    ) -> None:
        self.score = Score()
        self._machine, self._healthy, self._cycles = shown.machine, shown.healthy, shown.cycles
        self._remark = shown.remark
        self._as_json = as_json
        self._watched = out.is_terminal and not as_json
        self._limit_s = minutes * 60 if minutes else None if self._watched else _UNWATCHED_S
        self._stays = self._watched or minutes is not None
        self._began = self._ended = 0.0
        self._about: dict[str, Any] = {}
        self._summarised = False

    async def run(self) -> None:
        """All of it; when cancelled, everything that was started has been stopped."""
        with (
            _data_folder() as database,
            err.status("starting the service ...") if self._watched else nullcontext() as status,
        ):
            settings = load_settings(api={"host": "127.0.0.1", "port": 0, "docs_enabled": True}, database=database)
            async with running_service(settings) as url, Client(url) as client:
                await client.wait_ready(within_s=_READY_WITHIN_S)
                if status is not None:
                    status.stop()
                self._about = {"machine": self._machine.id, "url": url, "docs": f"{url}/docs"}
                if self._remark and self._as_json:
                    self._about["remark"] = self._remark
                elif self._remark:
                    out.print(self._remark, soft_wrap=not self._watched, markup=False)
                limit = asyncio.timeout(None)
                try:
                    async with limit:
                        await self._replay(client, limit)
                        self.summarise()
                        if self._stays:
                            await self._stay()
                except TimeoutError:
                    if not limit.expired():
                        raise

    async def _replay(self, client: Client, limit: asyncio.Timeout) -> None:
        pause_s = _WATCHED_PAUSE_S if self._watched else 0.0
        with Live(console=out, auto_refresh=False) if self._watched else nullcontext() as live:
            async for replayed in replay(client, self._machine, self._healthy, self._cycles, pause_s=pause_s):
                self._ended = time.monotonic()
                if not self.score.cycles:
                    self._began = self._ended
                    if self._limit_s is not None:
                        limit.reschedule(asyncio.get_running_loop().time() + self._limit_s)
                self.score.add(replayed)
                self._show(replayed, live)

    def _show(self, replayed: Replayed, live: Live | None) -> None:
        total = len(self._cycles)
        if live is not None:
            live.update(live_table(self._machine, replayed, total, self.score), refresh=True)
        elif not self._as_json:
            out.print(plain_line(replayed, total), soft_wrap=True)

    async def _stay(self) -> None:
        if self._watched:
            out.print(f"The service stays up at {self._about['url']}. Ctrl-C ends it.", soft_wrap=True)
        await asyncio.Event().wait()  # until Ctrl-C, or until --minutes have passed

    def summarise(self) -> None:
        """Print right and wrong, once, of what has been shown so far."""
        if self._summarised or not self.score.cycles:
            return
        self._summarised = True
        seconds = self._ended - self._began
        if self._as_json:
            counted = {"cycles": self.score.cycles, "commissioned_from": len(self._healthy)}
            print_json({**self._about, **counted, "seconds": round(seconds, 3), "components": self.score.as_json()})
        else:
            print_summary(out, self.score, self._about["docs"], seconds)
