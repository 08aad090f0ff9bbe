"""Laws of the machining centre: reproducible to the bit, converging with the step, within limits whatever happens."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gnn_service.demo.machines.cnc import MODES
from gnn_service.demo.machines.cnc.plant import CncPlant
from gnn_service.demo.plant import Frames, Schedule
from tests.support.machining import ENTRIES, PHASE, machining_centres, seen


class FinePlant(CncPlant):
    """The same machine at half the step."""

    STEP_S = 0.05


def equal(one: Frames, other: Frames) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name in ("values", "ledger"))
        for name in ("values", "state", "phase", "cycle", "ledger")
    )


def joined(frames: list[Frames]) -> Frames:
    names = ("values", "state", "phase", "cycle", "ledger")
    return Frames(*(np.concatenate([getattr(one, name) for one in frames]) for name in names))


def column(frames: Frames, place: int) -> Frames:
    only = slice(place, place + 1)
    return Frames(
        frames.values[..., only], frames.state[:, only], frames.phase[:, only], frames.cycle[:, only],
        frames.ledger[..., only],
    )  # fmt: skip


def fleet(size: int) -> CncPlant:
    places = np.arange(size)
    schedule = Schedule(
        np.tile([[0.0, 20.0, 31.0]], (size, 1)), np.stack([places % 7, (places + 3) % 7, places % 7], 1)
    )
    rng = np.random.default_rng(5)
    return machining_centres(
        size, schedule=schedule, part_size=rng.uniform(0.2, 1.0, 40)[:size], material=rng.uniform(0, 3, 40)[:size],
        start_share=rng.uniform(0, 1, 40)[:size], operator=rng.uniform(0.7, 1.1, 40)[:size],
        severity={"C1": rng.uniform(0, 1, 40)[:size], "C5": rng.uniform(0, 1, 40)[:size]},
    )  # fmt: skip


def test_a_machine_does_the_same_alone_and_in_any_batch():
    many, few, one = (fleet(size).advance(450, ledger=True) for size in (33, 2, 1))
    assert equal(column(many, 1), column(few, 1))
    assert equal(column(many, 0), one)


def test_a_run_is_the_same_in_one_piece_and_in_many():
    whole = fleet(3).advance(450, ledger=True)
    plant = fleet(3)
    pieces = joined([plant.advance(steps, ledger=True) for steps in (1, 9, 123, 200, 117)])
    assert equal(whole, pieces)


def test_asking_for_the_ledger_changes_nothing():
    assert np.array_equal(fleet(2).advance(50, ledger=True).values, fleet(2).advance(50).values, equal_nan=True)


def test_half_the_step_gives_the_same_means_in_every_phase():
    coarse, fine = (
        machining_centres(1, kind=kind, part_size=0.2, start_share=0.46, machine=2).advance(round(190 / kind.STEP_S))
        for kind in (CncPlant, FinePlant)
    )
    sensors = (
        "spindle.n", "spindle.power", "spindle.t_front", "x_axis.t_nut", "z_axis.i", "hydraulic_unit.t_oil",
        "chiller.t_in", "coolant_unit.p_tsc", "drive_cabinet.t", "spindle.v_rms",
    )  # fmt: skip
    for phase in ("rough", "semi_finish", "finish"):
        for sensor in sensors:
            means = [seen(f, sensor)[f.phase[:, 0] == PHASE[phase]].mean() for f in (coarse, fine)]
            assert means[0] == pytest.approx(means[1], rel=0.01), (phase, sensor)
    for sensor in ("x_axis.i", "x_axis.v", "c_axis.i"):
        rms = [np.sqrt((seen(f, sensor)[f.phase[:, 0] == PHASE["finish"]] ** 2).mean()) for f in (coarse, fine)]
        assert rms[0] == pytest.approx(rms[1], rel=0.02), sensor


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**31),
    states=st.lists(st.integers(0, 6), min_size=3, max_size=3),
    severity=st.lists(st.floats(0, 1), min_size=len(MODES), max_size=len(MODES)),
)
def test_nothing_leaves_its_limits_whatever_is_asked_of_it(seed, states, severity):
    rng = np.random.default_rng(seed)
    site = {name: rng.uniform(one.low, one.high, 4) for name, one in CncPlant.SITE.items()}
    schedule = Schedule(np.tile([[0.0, 9.3, 19.9]], (4, 1)), np.tile([states], (4, 1)))
    faults = {mode.id: value for mode, value in zip(MODES, severity, strict=True)}
    frames = machining_centres(4, schedule=schedule, severity=faults, **site).advance(300, ledger=True)
    results = ("tool_clamp.force", "x_axis.reversal", "y_axis.reversal", "z_axis.reversal")
    pressure = seen(frames, "hydraulic_unit.p")
    assert (pressure > 20.0).all()
    assert (pressure <= 130.0 + 1e-3).all()
    for sensor, low, high in (
        ("spindle.n", 0.0, 15_000.0), ("x_axis.i", -75 / 1.5, 75 / 1.5), ("z_axis.i", -75 / 1.5, 75 / 1.5),
        ("hydraulic_unit.level", 0.0, 100.0), ("coolant_unit.p_tsc", 0.0, 70.001), ("chiller.t_out", 10.0, 60.0),
        ("drive_cabinet.t", 10.0, 70.0), ("spindle.t_front", 10.0, 90.0), ("chiller.p_high", 5.0, 33.0),
        ("coolant_unit.n_pump", 0.0, 3_500.01), ("spindle.kurtosis", 3.0 - 1e-6, 12.01),
    ):  # fmt: skip
        shown = seen(frames, sensor)
        assert (shown >= low).all(), (sensor, shown.min())
        assert (shown <= high).all(), (sensor, shown.max())
    missing = np.isnan(frames.values).any(axis=(0, 2))
    from tests.support.machining import INDEX

    assert {name for name, row in INDEX.items() if missing[row]} <= set(results)
    assert (frames.ledger[:, ENTRIES["loss"]] >= -1e-9).all()


def test_a_fault_of_the_coolant_filter_moves_no_axis():
    healthy, faulty = (
        machining_centres(1, start_share=0.3, severity={"C12": s}, machine=0).advance(10) for s in (0.0, 1.0)
    )
    for axis in ("x_axis", "y_axis", "z_axis"):
        assert (seen(healthy, f"{axis}.i") == seen(faulty, f"{axis}.i")).all()
