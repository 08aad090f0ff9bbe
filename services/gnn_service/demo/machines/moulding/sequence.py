"""The machine's controller: what a finished segment leaves behind, and what comes next."""

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.moulding import duty
from gnn_service.demo.machines.moulding.clamping import toggle_at
from gnn_service.demo.machines.moulding.duty import Segment
from gnn_service.demo.machines.moulding.work import Part, Work

FIRST_OF = np.array([Segment.CLOSE_FAST, Segment.IDLE, Segment.HEAT_UP, Segment.PUMP_TEST_1])
"""What each operating state begins with."""


def begin(work: Work, targets: NDArray[np.int64]) -> None:
    """Every machine at the first segment of its operating state."""
    index = np.arange(work.size)
    work.segment = FIRST_OF[_possible(work, index, targets)].astype(np.int64)
    work.testing = work.segment == Segment.PUMP_TEST_1


def advance(work: Work, targets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Move the machines whose segment is over into their next one; those that have finished a cycle are returned.

    ``targets`` are the operating states that the schedule asks for; a machine follows at the end of its cycle.
    """
    s = work.s
    index = np.flatnonzero(work.done)
    finished = np.zeros(work.size, dtype=np.bool_)
    s["elapsed"] = s["elapsed"] + work.f["used"]
    if not len(index):
        return finished
    segment = work.segment[index]
    for kind, act in _ACTS.items():
        these = index[segment == kind]
        if len(these):
            act(Part(work, these))
    s["elapsed"][index] = 0.0
    coming = duty.NEXT[segment]
    testing = work.testing[index]
    coming = np.where(testing & (segment == Segment.LOCK_UP), Segment.CLAMP_TEST, coming)
    ends = (segment == Segment.ROBOT) | (testing & (segment == Segment.OPEN_BRAKE))
    stops = (segment == Segment.IDLE) | (segment == Segment.HEAT_UP)
    coming = np.where(ends | stops, FIRST_OF[_possible(work, index, targets[index])], coming)
    work.testing[index] = np.where(ends | stops, coming == Segment.PUMP_TEST_1, testing)
    work.segment[index] = coming
    finished[index] = ends
    return finished


def _possible(work: Work, index: NDArray[np.intp], target: NDArray[np.int64]) -> NDArray[np.int64]:
    """The state asked for, but no production or test with a barrel that is still cold."""
    setpoints = np.stack([work.p[f"barrel_heaters.setpoint_{zone}"][index] for zone in range(1, 7)])
    cold = (work.zones[:, index] < setpoints - 2.0 * duty.ZONE_TOLERANCE_K).sum(axis=0) > 1
    runs = (target == duty.PRODUCTION) | (target == duty.LEAK_TEST)
    return np.where(runs & cold, duty.HEAT_UP, target)


def _locked(part: Part) -> None:
    peak = part.s("lock_peak")
    part.result(p_lock=peak, imbalance=part.p("toggle_tiebars.imbalance"))
    part.set(lock_peak=np.zeros_like(peak))


def _ready_to_fill(part: Part) -> None:
    lost = part.p("screw_unit.ring_scatter") * part.draw(4) * part.p("screw.area")
    zero = np.zeros_like(lost)
    part.set(injected=-lost, fill_time=zero, fill_peak=zero)


def _switched_over(part: Part) -> None:
    """While the valve still closes, the screw runs on and packs the melt."""
    speed, pressure = part.work.f["v_screw"][part.index], part.work.f["p_hyd"][part.index]
    late = part.p("manifold.injection_lag") * (0.6 + 0.8 * part.draw(5))
    run_on = np.minimum(speed * late, part.s("screw"))
    packed = run_on * part.p("screw.area")
    rise = part.p("screw_unit.melt_bulk_modulus") * packed / part.p("cavity")
    rise = rise * part.p("screw.area") / part.p("injection.area")
    part.set(screw=part.s("screw") - run_on, injected=part.s("injected") + packed)
    area, back = part.p("injection.area"), part.p("injection.back")
    part.add(drawn=area * run_on, returned=back * run_on)
    peak = np.minimum(np.maximum(part.s("fill_peak"), pressure + rise), part.p("manifold.relief_pressure"))
    part.result(p_switch=pressure, p_peak=peak, fill_time=part.s("fill_time"))


def _held(part: Part) -> None:
    weight = part.p("screw_unit.melt_density") * np.maximum(part.s("injected"), 0.0)
    zero = np.zeros_like(weight)
    part.result(cushion=part.s("screw"), part_weight=weight)
    trim = part.s("trim") + duty.TRIM_GAIN * (duty.CUSHION - part.s("screw"))
    part.set(trim=np.minimum(np.maximum(trim, duty.TRIM_LEAST), duty.TRIM_MOST))
    part.set(part_heat=part.s("part_heat") + weight * part.p("mould_tcu.part_heat"), cooling_time=zero, plast_time=zero)


def _metered(part: Part) -> None:
    done = ~part.work.testing[part.index]
    part.result(t_plast=np.where(done, part.s("plast_time"), part.work.results["t_plast"][part.index]))


def _rested(part: Part) -> None:
    """Clamping force that was lost while the cylinder was shut off, a second."""
    time = part.s("elapsed")
    force, _ = toggle_at(part, part.s("crosshead"))
    full, _ = toggle_at(part, np.zeros_like(force))
    decay = (1.0 - force / np.maximum(full, 1.0)) / np.maximum(time, 0.1)
    part.result(lock_decay=decay)


def _creep_measured(part: Part) -> None:
    part.result(creep=part.s("creep"))
    part.set(creep=np.zeros_like(part.s("creep")), plast_time=np.zeros_like(part.s("creep")))


def _cycle_over(part: Part) -> None:
    last = part.work.f
    time = part.s("cycle_time") + last["used"][part.index]
    energy = part.s("cycle_energy") + last["electric"][part.index]
    part.result(cycle_time=time, energy=energy, creep=np.full_like(time, np.nan))


_ACTS = {
    Segment.LOCK_UP: _locked,
    Segment.NOZZLE: _ready_to_fill,
    Segment.FILL_SLOW: _switched_over,
    Segment.HOLD: _held,
    Segment.PLASTICISE: _metered,
    Segment.REST: _rested,
    Segment.CLAMP_TEST: _rested,
    Segment.INJECTION_TEST: _creep_measured,
    Segment.ROBOT: _cycle_over,
}
