"""Laws that the moulding machine keeps: energy, volume, identity, limits, independence of batch, step and calls."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.machines.moulding import MODES, PLANT
from gnn_service.demo.plant import Schedule
from gnn_service.demo.streams import Key
from tests.support.moulding import CYCLE_STEPS, IDS, LEAK_TEST, column, during, healthy, plant

KINDS = {
    kind: [row for row, entry in enumerate(PLANT.LEDGER) if entry.kind == kind]
    for kind in ("input", "useful", "loss", "ambient", "stored", "heat_stored")
}


def energy(ledger, kind, rows=slice(None)):
    return ledger[rows][:, KINDS[kind]].sum(axis=(0, 1)) * PLANT.STEP_S


def gained(ledger, kind):
    levels = ledger[:, KINDS[kind]].sum(axis=1)
    return levels[-1] - levels[0]


def test_what_goes_in_is_what_comes_out_is_lost_or_stored():
    worn = {"I2": [0.0, 0.8, 0.0, 0.0], "I7": [0.0, 0.0, 0.9, 0.0], "I3": [0.0, 0.0, 0.0, 1.0]}
    ledger = plant(4, severity=worn).advance(2 * CYCLE_STEPS, ledger=True).ledger
    taken = energy(ledger, "input", slice(1, None))
    out = energy(ledger, "useful", slice(1, None)) + energy(ledger, "loss", slice(1, None)) + gained(ledger, "stored")
    assert out == pytest.approx(taken, rel=0.002)


def test_every_loss_becomes_heat_that_leaves_or_stays():
    ledger = healthy().advance(CYCLE_STEPS, ledger=True).ledger
    lost = energy(ledger, "loss", slice(1, None))
    assert energy(ledger, "ambient", slice(1, None)) + gained(ledger, "heat_stored") == pytest.approx(lost, rel=1e-6)


def test_no_component_makes_power():
    ledger = healthy().advance(CYCLE_STEPS, ledger=True).ledger
    rows = [row for row in KINDS["loss"] if PLANT.LEDGER[row].name != "gas"]
    assert (ledger[:, rows] >= -1e-6).all()
    gas = next(row for row in KINDS["loss"] if PLANT.LEDGER[row].name == "gas")
    assert abs(ledger[:, gas].mean()) < 300.0


@pytest.mark.parametrize("state", [0, LEAK_TEST])
def test_oil_is_neither_made_nor_lost(state):
    made = plant(2, state=state, severity={"I8": [0.0, 1.0]})
    work = made._work
    area = {name: work.p[name] for name in ("clamp.head", "clamp.rod", "ejector.head", "ejector.rod")}

    def oil():
        clamp = (area["clamp.head"] - area["clamp.rod"]) * -work.s["crosshead"]
        ejector = (area["ejector.head"] - area["ejector.rod"]) * work.s["ejector"]
        injection = (work.p["injection.back"] - work.p["injection.area"]) * work.s["screw"]
        return work.s["tank_change"] + clamp + ejector + injection - work.s["gas_volume"]

    start, drawn = oil(), np.zeros(2)
    for _ in range(1200):
        before = oil()
        made.advance(1)
        drawn = drawn + work.f["drawn"]
        assert abs(oil() - before).max() < 1e-9 * PLANT.STEP_S
    assert abs(oil() - start).max() < 1e-6 * drawn.min()


def test_severity_zero_is_the_healthy_machine_to_the_bit():
    alone = healthy().advance(700).values
    beside_a_worn_one = plant(2, severity={mode.id: [0.0, 0.4] for mode in MODES}).advance(700).values
    assert np.ascontiguousarray(beside_a_worn_one[:, :, 0]).tobytes() == alone[:, :, 0].tobytes()


def test_a_machine_does_not_see_which_others_run_beside_it():
    keys = [Key(3, machine) for machine in range(9)]
    site = {"cooling_s": np.linspace(8.0, 15.0, 9), "material": np.linspace(0.8, 1.3, 9)}
    severity = {"I2": np.linspace(0.0, 1.0, 9), "I6": np.linspace(1.0, 0.0, 9)}
    together = plant(9, keys=keys, site=site, severity=severity).advance(560, ledger=True)
    for one in (1, 7):
        alone = plant(
            1,
            keys=keys[one : one + 1],
            site={name: values[one : one + 1] for name, values in site.items()},
            severity={name: values[one : one + 1] for name, values in severity.items()},
        ).advance(560, ledger=True)
        assert alone.values[:, :, 0].tobytes() == np.ascontiguousarray(together.values[:, :, one]).tobytes()
        assert np.array_equal(alone.ledger[:, :, 0], together.ledger[:, :, one])


def test_it_does_not_matter_how_the_steps_are_divided():
    whole = healthy().advance(800, ledger=True)
    made = healthy()
    parts = [made.advance(steps, ledger=True) for steps in (1, 0, 37, 462, 300)]
    assert np.concatenate([part.values for part in parts]).tobytes() == whole.values.tobytes()
    assert np.array_equal(np.concatenate([part.ledger for part in parts]), whole.ledger)


def test_half_the_step_changes_phase_means_by_less_than_one_percent():
    class Fine(PLANT):
        STEP_S = 0.025

    coarse, fine = healthy().advance(CYCLE_STEPS + 5), plant(1, kind=Fine).advance(2 * CYCLE_STEPS + 10)
    for sensor in (
        "screw_unit.fill_time",
        "screw_unit.cushion",
        "drive_supply.cycle_time",
        "drive_supply.energy",
        "injection_cylinder.p_peak",
        "screw_unit.part_weight",
        "clamp_cylinder.p_lock",
    ):
        assert column(fine, sensor)[-1] == pytest.approx(column(coarse, sensor)[-1], rel=0.01), sensor
    for phase in ("close_fast", "fill", "hold", "plasticise"):
        for sensor in ("manifold.p_sys", "servo_pump_1.n", "drive_supply.p_in"):
            assert during(fine, sensor, phase) == pytest.approx(during(coarse, sensor, phase), rel=0.01), (
                phase,
                sensor,
            )


def test_a_change_of_parameters_acts_from_the_next_step_and_leaves_temperatures():
    made = healthy()
    before = made.advance(300)
    worn = plant(1, severity={"I2": [1.0]}, settled=False)._setting.parameters
    made.set_parameters(worn)
    after = made.advance(2)
    oil = IDS.index("oil_tank.t_oil")
    assert after.values[0, oil, 0] == before.values[-1, oil, 0]
    assert after.values[-1, IDS.index("servo_pump_1.n"), 0] > before.values[-1, IDS.index("servo_pump_1.n"), 0]


def test_the_schedule_is_followed_at_the_end_of_a_cycle():
    schedule = Schedule(np.array([[0.0, 10.0, 60.0]]), np.array([[0, 1, 0]]))
    frames = plant(1, schedule=schedule).advance(1600)
    state = frames.state[:, 0]
    stops = np.flatnonzero(np.diff(state)) * PLANT.STEP_S
    assert stops == pytest.approx([37.0, 60.0], abs=0.6)
    assert frames.cycle[-1, 0] == 1


def test_no_steps_give_no_frames_and_fewer_are_refused():
    made = plant(1, settled=False)
    assert made.advance(0).values.shape == (0, len(IDS), 1)
    with pytest.raises(InvalidInputError, match="-1 steps"):
        made.advance(-1)


@settings(max_examples=4, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    severities=st.lists(st.floats(0.0, 1.0), min_size=len(MODES), max_size=len(MODES)),
    state=st.integers(0, 3),
)
def test_whatever_fails_where_it_works_the_limits_hold(seed, severities, state):
    rng = np.random.default_rng(seed)
    size = 4
    site = {name: rng.uniform(factor.low, factor.high, size) for name, factor in PLANT.SITE.items()}
    worn = {mode.id: rng.permutation([value, 0.0, 1.0, 0.3]) for mode, value in zip(MODES, severities, strict=True)}
    schedule = Schedule(
        np.array([[0.0, 20.0, 45.0]] * size), rng.integers(0, 4, (size, 3)) * [[0, 1, 1]] + [[state, 0, 0]]
    )
    keys = [Key(seed, machine) for machine in range(size)]
    made = plant(size, site=site, severity=worn, schedule=schedule, keys=keys, settled=bool(seed % 2))
    frames = made.advance(1000)
    allowed_nan = {
        "clamp_cylinder.p_lock",
        "toggle_tiebars.imbalance",
        "toggle_tiebars.lock_decay",
        "drive_supply.cycle_time",
        "drive_supply.energy",
    }
    for sensor in IDS:
        values = column(frames, sensor)
        if not (sensor.startswith("screw_unit") or "p_peak" in sensor or "p_switch" in sensor or sensor in allowed_nan):
            assert np.isfinite(values).all(), sensor
    for sensor in ("manifold.p_sys", "clamp_cylinder.p_head", "injection_cylinder.p_hyd", "plasticizing_motor.p_in"):
        assert column(frames, sensor).max() < 200.0, sensor
        assert column(frames, sensor).min() >= 0.0, sensor
    level = column(frames, "oil_tank.level")
    assert 80.0 < level.min() <= level.max() <= 100.0
    assert column(frames, "injection_cylinder.pos").min() >= 0.0
    assert column(frames, "injection_cylinder.pos").max() <= 380.0 + 1e-6
