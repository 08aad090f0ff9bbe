"""Pictures of a simulated run: a stretch of cycles as the sensors saw it, each fault's signature, the heat balance."""

from pathlib import Path

import numpy as np

from gnn_service.demo.plots import Cycle, draw_cycle, draw_heat_balance, draw_signature, save
from gnn_service.demo.run import Run, RunPlan
from gnn_service.demo.systems import System
from gnn_service.demo.traces import main_state, signature

CYCLES_SHOWN = 3
LONGEST_SHOWN_S = 600.0


def draw_run(system: System, plan: RunPlan, run: Run, folder: Path) -> None:
    """Draw all of them into a folder, which is made."""
    folder.mkdir()
    shown = _first_cycles(run, main_state(system))
    cycle = Cycle(run.times_s[shown], run.values[shown], run.phase[shown])
    title = f"{system.name}, {run.state[shown][0]}: {cycle.time_s[-1] - cycle.time_s[0]:.0f} s"
    save(draw_cycle(system, cycle, title), folder / "cycle.png")
    seconds = len(run.ledger) * system.plant.STEP_S
    heat = f"{system.name}: mean powers over {seconds / 60:.0f} min"
    save(draw_heat_balance(system.plant.LEDGER, run.ledger, system.plant.STEP_S, heat), folder / "heat.png")
    for name in plan.ramps:
        mode = system.mode(name)
        save(draw_signature(signature(system, mode), mode), folder / f"signature_{mode.id}.png")


def _first_cycles(run: Run, state: str) -> slice:
    """The first whole cycles that follow each other in the usual state, else in any, else what there is."""
    starts = np.r_[0, np.flatnonzero(np.diff(run.cycle)) + 1, len(run.cycle)]
    stretches = list(zip(starts[:-CYCLES_SHOWN].tolist(), starts[CYCLES_SHOWN:].tolist(), strict=True))
    whole = [(begin, end) for begin, end in stretches if (run.state[begin:end] == run.state[begin]).all()]
    usual = [(begin, end) for begin, end in whole if run.state[begin] == state]
    begin, end = (usual or whole or [(0, len(run.times_s))])[0]
    last = int(np.searchsorted(run.times_s, run.times_s[begin] + LONGEST_SHOWN_S))
    return slice(begin, min(end, last))
