"""Pictures of a simulated run: a stretch of cycles as the sensors saw it, each fault's signature, the heat balance."""

from pathlib import Path

import numpy as np

from gnn_service.demo.plots import Cycle, draw_cycle, draw_heat_balance, draw_signature, save
from gnn_service.demo.run import Run, RunPlan
from gnn_service.demo.systems import System
from gnn_service.demo.traces import signature

CYCLES_SHOWN = 3
LONGEST_SHOWN_S = 600.0


def draw_run(system: System, plan: RunPlan, run: Run, folder: Path) -> None:
    """Draw all of them into a folder, which is made."""
    folder.mkdir()
    shown = _first_cycles(run)
    cycle = Cycle(run.times_s[shown], run.values[shown], run.phase[shown])
    title = f"{system.name}, {run.state[shown][0]}: {cycle.time_s[-1] - cycle.time_s[0]:.0f} s"
    save(draw_cycle(system, cycle, title), folder / "cycle.png")
    seconds = len(run.ledger) * system.plant.STEP_S
    heat = f"{system.name}: mean powers over {seconds / 60:.0f} min"
    save(draw_heat_balance(system.plant.LEDGER, run.ledger, system.plant.STEP_S, heat), folder / "heat.png")
    for name in plan.ramps:
        mode = system.mode(name)
        save(draw_signature(signature(system, mode), mode), folder / f"signature_{mode.id}.png")


def _first_cycles(run: Run) -> slice:
    """The first whole cycles that follow each other in one state, or as much of the run as one can see."""
    starts = np.r_[0, np.flatnonzero(np.diff(run.cycle)) + 1, len(run.cycle)]
    for first in range(len(starts) - CYCLES_SHOWN):
        begin, end = int(starts[first]), int(starts[first + CYCLES_SHOWN])
        if (run.state[begin:end] == run.state[begin]).all():
            break
    else:
        begin, end = 0, len(run.times_s)
    last = int(np.searchsorted(run.times_s, run.times_s[begin] + LONGEST_SHOWN_S))
    return slice(begin, min(end, last))
