"""`gnn-service simulate`: one machine over some hours, lives that end in failure, or a whole corpus for training."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gnn_service.cli.console import out, print_json, progress
from gnn_service.cli.simulate_live import live_plan, stream

if TYPE_CHECKING:
    from gnn_service.demo.corpus import CorpusPlan, Written
    from gnn_service.demo.run import Run, RunPlan
    from gnn_service.demo.sensor_faults import SensorFault
    from gnn_service.demo.streams import Key
    from gnn_service.demo.systems import System
    from gnn_service.domain.recording import Recording

app = typer.Typer(add_completion=False)
CORPUS = "corpus"
LIVES = 100
_RUN_ONLY = ("--hours", "--severity", "--state", "--sensor-fault", "--plot", "--captures")
_LIVES_ONLY = ("--kind", "--windows", "--minutes", "--workers", "--resume")
_LIVE_ONLY = ("--speed", "--after", "--over", "--frames")
_WRITTEN = ("--out", "--lives", "--plot", "--captures", "--overwrite", "--json")
_Out = Annotated[Path | None, typer.Option("--out", help="The folder to write; --live needs none.")]
_Fault = Annotated[list[str] | None, typer.Option("--fault", help="A failure mode, e.g. E1; again for more.")]
_Severity = Annotated[
    str | None, typer.Option(help="Of the fault, from and to, e.g. 0:0.8; or one number.  [default: 0:1]")
]
_SensorFault = Annotated[
    list[str] | None,
    typer.Option("--sensor-fault", metavar="KIND[:SENSOR[:SEVERITY]]", help="A sensor that fails; again for more."),
]
_State = Annotated[str | None, typer.Option(help="Operating state throughout, e.g. idle; else those of a shift.")]
_Rate = Annotated[float | None, typer.Option(help="Rows a second.  [default: every step of a run, 1 for lives]")]
_Lives = Annotated[int | None, typer.Option(min=1, help="Write whole lives; so many.  [default: 100 for corpus]")]
_Kind = Annotated[
    Literal["failure", "fleet", "cascade"] | None,
    typer.Option(help="Of lives: one failure; many with repairs; one lets another begin.  [default: failure]"),
]
_Windows = Annotated[int | None, typer.Option(min=1, max=1000, help="Windows of each life.  [default: 24]")]
_Captures = Annotated[
    int, typer.Option(min=0, max=100, help="Capture circuits at a high rate at so many moments; one: at the end.")
]
_Workers = Annotated[int | None, typer.Option(min=1, max=256, help="Processes for lives.  [default: one a core]")]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what was simulated to --out before.")]
_Live = Annotated[bool, typer.Option("--live", help="Frame by frame as JSON lines on stdout, until --hours or Ctrl-C.")]
_Speed = Annotated[float | None, typer.Option(help="Of --live: times real time; inf without pauses.  [default: 1]")]
_After = Annotated[float | None, typer.Option(help="Of --live: seconds until the faults begin.  [default: 0]")]
_Over = Annotated[float | None, typer.Option(help="Of --live: seconds in which they grow.  [default: 0, at once]")]
_Frames = Annotated[int | None, typer.Option(min=1, help="Of --live: end after so many frames.")]


@app.command()
def simulate(
    machine: Annotated[str, typer.Argument(help="excavator, moulding, cnc or robot; corpus: lives of all four.")],
    out_dir: _Out = None,
    hours: Annotated[float | None, typer.Option(help="How long to run.  [default: 1; endless with --live]")] = None,
    fault: _Fault = None,
    severity: _Severity = None,
    sensor_fault: _SensorFault = None,
    state: _State = None,
    rate: _Rate = None,
    lives: _Lives = None,
    kind: _Kind = None,
    windows: _Windows = None,
    minutes: Annotated[float | None, typer.Option(help="Length of a window.  [default: 10]")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    number: Annotated[int, typer.Option(min=0, help="Which machine of the fleet a run is of.")] = 0,
    file_format: Annotated[Literal["parquet", "csv"], typer.Option("--format", help="Of the tables.")] = "parquet",
    plot: Annotated[bool, typer.Option("--plot", help="Draw a cycle, the faults' signatures, the heat.")] = False,
    captures: _Captures = 0,
    workers: _Workers = None,
    overwrite: _Overwrite = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with lives that were interrupted.")] = False,
    live: _Live = False,
    speed: _Speed = None,
    after: _After = None,
    over: _Over = None,
    frames: _Frames = None,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
) -> None:
    """Simulate a machine from its equations and write a recording, with the truth beside the readings.

    A run is one machine at work without a pause. With --lives, or for `corpus`, each recording is one life as
    windows of some minutes, a quarter of them with a whole test; a corpus mixes all kinds of lives. About 1 GB of
    memory a process; finished lives are kept by --resume. With --live the machine runs in real or faster time.
    """
    lives_only = dict(zip(_LIVES_ONLY, (kind, windows, minutes, workers, resume), strict=True))
    live_only = dict(zip(_LIVE_ONLY, (speed, after, over, frames), strict=True))
    if live:
        written = dict(zip(_WRITTEN, (out_dir, lives, plot, captures, overwrite, as_json), strict=True))
        _refuse(written | lives_only, "is not for --live, which writes frames to stdout")
        asked = live_plan(speed, after, over, hours, frames)
        plan = _run_plan(machine, hours, fault, severity, sensor_fault, state, rate, seed, number)
        stream(_system(machine), _key(seed, number), plan, asked)
        return
    _refuse(live_only, "is for --live")
    folder = _required(out_dir)
    if machine == CORPUS or lives is not None:
        given = dict(zip(_RUN_ONLY, (hours, severity, state, sensor_fault, plot, captures), strict=True))
        _refuse(given, "is for a run, not for lives")
        lapse = _corpus_plan(machine, lives, kind, windows, minutes, rate, fault, seed, file_format)
        _write_lives(lapse, folder, workers or os.cpu_count() or 1, overwrite, resume, as_json)
        return
    _refuse(lives_only, "is for lives: say --lives N")
    run = _run_plan(machine, hours, fault, severity, sensor_fault, state, rate, seed, number, captures)
    _write_run(_system(machine), run, folder, _key(seed, number), file_format, plot, overwrite, as_json)


def _required(out_dir: Path | None) -> Path:
    if out_dir is None:
        raise typer.BadParameter("say which folder to write", param_hint="--out")
    return out_dir


def _refuse(given: dict[str, Any], why: str) -> None:
    for name, value in given.items():
        if value:
            raise typer.BadParameter(why, param_hint=name)


def _system(machine: str) -> "System":
    from gnn_service.core.errors import UnknownMachineError
    from gnn_service.demo.systems import get_system, list_systems

    if machine not in list_systems():
        known = ", ".join(list_systems())
        raise UnknownMachineError(f"no simulated machine {machine!r}; there is: {known}; and {CORPUS} for all of them")
    return get_system(machine)


def _key(seed: int, number: int) -> "Key":
    from gnn_service.demo.streams import Key

    return Key(seed, number)


def parse_severity(given: str | None) -> tuple[float, float]:
    """`A:B` or one number as (from, to); wrong usage where one is not within 0 and 1."""
    parts = ("0:1" if given is None else given).split(":")
    try:
        ends = [float(part) for part in parts]
    except ValueError:
        ends = []
    if len(ends) not in (1, 2) or not all(0 <= end <= 1 for end in ends):
        hint = "must be a number within 0 and 1, or two like 0:0.8"
        raise typer.BadParameter(f"{given!r} {hint}", param_hint="--severity")
    return ends[0], ends[-1]


def _parse_sensor_fault(text: str, system: "System", seed: int, number: int, place: int) -> "SensorFault":
    """`KIND[:SENSOR[:SEVERITY]]`; a sensor that is not named is drawn."""
    from dataclasses import replace

    from gnn_service.demo.sensor_faults import SensorFault, check_sensor_fault, draw_sensor_fault
    from gnn_service.demo.streams import Key

    kind, _, rest = text.partition(":")
    sensor, _, size = rest.partition(":")
    try:
        severity = float(size) if size else 0.5
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not KIND:SENSOR:SEVERITY", param_hint="--sensor-fault") from None
    if not sensor:
        check_sensor_fault(system.machine, SensorFault(kind, system.machine.sensor_ids[0]))
        fault = draw_sensor_fault(system.machine, Key(seed, number, place), (kind,))
        return replace(fault, start_s=-float("inf"), end_s=float("inf"))
    return check_sensor_fault(system.machine, SensorFault(kind, sensor, severity))


def _run_plan(
    machine: str,
    hours: float | None,
    fault: list[str] | None,
    severity: str | None,
    sensor_fault: list[str] | None,
    state: str | None,
    rate: float | None,
    seed: int,
    number: int,
    captures: int = 0,
) -> "RunPlan":
    from gnn_service.demo.run import RunPlan

    system = _system(machine)
    length = 1.0 if hours is None else hours
    if not 0 < length < float("inf"):
        raise typer.BadParameter(f"must be finite and above 0, not {length:g}", param_hint="--hours")
    if severity is not None and not fault:
        raise typer.BadParameter("say which --fault it is of", param_hint="--severity")
    ends = parse_severity(severity)
    ramps = {system.mode(name).id: ends for name in fault or ()}
    faults = [_parse_sensor_fault(text, system, seed, number, at) for at, text in enumerate(sensor_fault or ())]
    return RunPlan(length * 3600, ramps, state, rate, tuple(faults), captures)


def _write_run(
    system: "System",
    plan: "RunPlan",
    out_dir: Path,
    key: "Key",
    file_format: Literal["parquet", "csv"],
    plot: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    from gnn_service.demo.corpus import life_name
    from gnn_service.demo.export import run_recording
    from gnn_service.demo.pictures import draw_run
    from gnn_service.demo.plots import require_matplotlib
    from gnn_service.demo.run import check_size, simulate_run
    from gnn_service.recordings.folder import write_recording

    _claim(out_dir, overwrite=overwrite)
    check_size(system, plan)
    if plot:
        require_matplotlib()
    with progress() as shown:
        task = shown.add_task("simulating, seconds", total=round(plan.seconds))
        run = simulate_run(system, key, plan, lambda seconds: shown.update(task, completed=round(seconds)))
        recording, extras = run_recording(system, key, plan, run, machine_id=life_name(system.name, key.machine))
        shown.update(task, description="writing")
        drawn = (lambda folder: draw_run(system, plan, run, folder / "plots")) if plot else None
        write_recording(
            recording, out_dir, overwrite=overwrite, extras=extras, file_format=file_format, also=drawn
        )  # fmt: skip
    _report_run(out_dir, system, plan, run, recording, as_json)


def _claim(out_dir: Path, *, overwrite: bool) -> None:
    """Refuse early what could not be written late; replace nothing but a recording."""
    from gnn_service.core.errors import InvalidInputError
    from gnn_service.recordings.staging import require_free, require_writable

    require_free(out_dir, overwrite=overwrite)
    if out_dir.is_dir() and any(out_dir.iterdir()) and not (out_dir / "machine.json").is_file():
        raise InvalidInputError("this folder holds something else than a recording; choose another", where=str(out_dir))
    require_writable(out_dir)


def _report_run(
    out_dir: Path, system: "System", plan: "RunPlan", run: "Run", recording: "Recording", as_json: bool
) -> None:
    faults: dict[str, dict[str, Any]] = {}
    for index, mode in enumerate(system.modes):
        sections = [section for section in run.sections if section.severity[index] > 0]
        if sections:
            visible = [section for section in sections if section.observable[index]]
            faults[mode.id] = {
                "component": mode.component,
                "mode": mode.mode,
                "severity": list(plan.ramps[mode.id]),
                "seen_in_share": round(len(visible) / len(sections), 4),
                "seen_from_severity": float(visible[0].severity[index]) if visible else None,
                "needs": list(mode.needs),
            }
    report: dict[str, Any] = {
        "recording": str(out_dir),
        "machine": recording.machine.id,
        "hours": plan.seconds / 3600,
        "rows": len(recording.readings.times),
        "sensors": len(recording.readings.sensors),
        "cycles": int(run.cycle[-1]) + 1,
        "rate_hz": recording.info["sampling"]["rate_hz"],
        "faults": faults,
        "sensor_faults": [f"{fault.kind}:{fault.sensor}" for fault in plan.sensor_faults],
        "captures": list(recording.info.get("captures", ())),
    }
    if as_json:
        print_json(report)
        return
    out.print(
        f"{out_dir}: {report['hours']:g} h of {report['machine']} in {report['cycles']} cycles, {report['rows']} rows"
        f" of {report['sensors']} sensors at {report['rate_hz']:g} Hz",
        soft_wrap=True,
    )
    for name, told in faults.items():
        start, end = told["severity"]
        seen = f"seen from severity {told['seen_from_severity']:.2f} on" if told["seen_in_share"] else "never seen"
        needs = f"; shows in {', '.join(told['needs'])}" if told["needs"] else ""
        words = f"{name} ({told['mode']} of {told['component']}) from {start:g} to {end:g}, {seen}{needs}"
        out.print(f"  {words}", soft_wrap=True, markup=False)
    if report["sensor_faults"]:
        out.print(f"  sensors that fail: {', '.join(report['sensor_faults'])}", soft_wrap=True, markup=False)
    if report["captures"]:
        out.print(f"  captures: {', '.join(report['captures'])}", soft_wrap=True)


def _corpus_plan(
    machine: str,
    lives: int | None,
    kind: str | None,
    windows: int | None,
    minutes: float | None,
    rate: float | None,
    fault: list[str] | None,
    seed: int,
    file_format: Literal["parquet", "csv"],
) -> "CorpusPlan":
    from gnn_service.demo.corpus import CorpusPlan
    from gnn_service.demo.life_kinds import MIX
    from gnn_service.demo.life_windows import LapsePlan
    from gnn_service.demo.systems import list_systems
    from gnn_service.demo.thin import interval_steps

    if machine == CORPUS and fault:
        raise typer.BadParameter("is for one machine, not for a corpus of all", param_hint="--fault")
    names = tuple(list_systems()) if machine == CORPUS else (machine,)
    if minutes is not None and not 0 < minutes <= 1440:
        raise typer.BadParameter(f"must be above 0 and at most 1440, not {minutes:g}", param_hint="--minutes")
    usual = LapsePlan()
    lapse = LapsePlan(
        windows=windows or usual.windows,
        window_s=minutes * 60 if minutes else usual.window_s,
        rate_hz=rate if rate is not None else usual.rate_hz,
    )
    systems = [_system(name) for name in names]
    for system in systems:
        interval_steps(lapse.rate_hz, system.plant.STEP_S)
    faults = tuple(systems[0].mode(name).id for name in fault or ())
    shares = MIX if machine == CORPUS and kind is None else {kind or "failure": 1.0}
    return CorpusPlan(names, lives or LIVES, seed, faults, lapse, file_format, shares)


def _write_lives(plan: "CorpusPlan", out_dir: Path, workers: int, overwrite: bool, resume: bool, as_json: bool) -> None:
    from dataclasses import asdict

    from gnn_service.demo.corpus import write_corpus

    if overwrite and resume:
        raise typer.BadParameter("give --overwrite or --resume, not both")
    with progress() as shown:
        task = shown.add_task("simulating lives", total=plan.lives * len(plan.machines))
        written = write_corpus(
            plan, out_dir, workers=workers, overwrite=overwrite, resume=resume,
            say=lambda done, total: shown.update(task, completed=done, total=total),
        )  # fmt: skip
    if as_json:
        print_json({"corpus": str(out_dir), "machines": list(plan.machines), "seed": plan.seed, **asdict(written)})
    else:
        out.print(f"{out_dir}: {_told(written)}", soft_wrap=True)


def _told(written: "Written") -> str:
    kept = written.lives - written.new
    were = f" ({kept} were there)" if kept else ""
    return (
        f"{written.lives} lives{were}, {written.windows} windows, {written.machine_hours:.3g} machine-hours,"
        f" {written.bytes / 1e6:.0f} MB"
    )
