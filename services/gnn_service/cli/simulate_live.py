"""`gnn-service simulate MACHINE --live`: a machine that runs, a line of JSON a frame on stdout."""

import asyncio
import math
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
import typer

from gnn_service.core.clock import Clock

if TYPE_CHECKING:
    from gnn_service.demo.live import LiveMachine
    from gnn_service.demo.run import RunPlan
    from gnn_service.demo.streams import Key
    from gnn_service.demo.systems import System

ENDLESS_S = 7 * 24 * 3600.0
"""Without an end a usual shift is planned for so long; its last operating state then goes on."""


@dataclass(frozen=True, slots=True)
class Live:
    """How a machine runs: times real time, seconds until its faults begin and in which they grow, and its end."""

    speed: float = 1.0
    after_s: float = 0.0
    over_s: float = 0.0
    seconds: float = math.inf
    frames: float = math.inf


def live_plan(
    speed: float | None, after: float | None, over: float | None, hours: float | None, frames: int | None
) -> Live:
    """What the options ask for; wrong usage where that cannot be."""
    if speed is not None and not speed > 0:
        raise typer.BadParameter(f"must be above 0, not {speed:g}", param_hint="--speed")
    for name, seconds in (("--after", after), ("--over", over)):
        if seconds is not None and not 0 <= seconds < math.inf:
            raise typer.BadParameter(f"must be 0 s or more, not {seconds:g}", param_hint=name)
    return Live(
        1.0 if speed is None else speed,
        after or 0.0,
        over or 0.0,
        math.inf if hours is None else hours * 3600.0,
        math.inf if frames is None else frames,
    )


def stream(system: "System", key: "Key", plan: "RunPlan", live: Live, clock: Clock | None = None) -> None:
    """Write frames until the end that was asked for; Ctrl-C and a reader that leaves are ends like any other."""
    from gnn_service.demo.live import LiveMachine
    from gnn_service.demo.run import single_setting

    setting = single_setting(system, key, plan.state, min(live.seconds, ENDLESS_S))
    machine = LiveMachine(system, setting, rate_hz=plan.rate_hz)
    try:
        asyncio.run(_write(machine, system, plan, live, clock))
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in buffers has no reader either


async def _write(machine: "LiveMachine", system: "System", plan: "RunPlan", live: Live, clock: Clock | None) -> None:
    from gnn_service.demo.live import as_record

    begun, written = False, 0
    stream = machine.frames(speed=live.speed, clock=clock)
    while machine.time_s < live.seconds - 1e-9 and written < live.frames:
        if not begun and machine.time_s >= live.after_s - 1e-9:
            begun = True
            _begin(machine, plan, live.over_s)
        line = as_record(await anext(stream), system.machine.sensor_ids)
        typer.echo(orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE), nl=False)
        written += 1
    await stream.aclose()


def _begin(machine: "LiveMachine", plan: "RunPlan", over_s: float) -> None:
    """Let the faults begin: at their first severity, from which they grow to the last."""
    for name, (start, end) in plan.ramps.items():
        machine.start_fault(name, start)
        machine.start_fault(name, end, over_s=over_s)
    for fault in plan.sensor_faults:
        machine.start_sensor_fault(fault)
