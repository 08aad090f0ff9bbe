"""Laws that the simulated robot keeps: energy, independence of batch and of calls, time step."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gnn_service.demo.machines.robot import MODES
from gnn_service.demo.machines.robot.plant import GROUP, RobotPlant
from gnn_service.demo.plant import Schedule
from tests.support.robots import ENTRIES, PHASE, STATE, mean_seen, robots, root_mean_square, seen

STEP = RobotPlant.STEP_S


def balances(ledger):
    """Electrical-mechanical and heat balance of a stretch, each as a share of what came in."""
    flows, change = ledger[1:].sum(0) * STEP, ledger[-1] - ledger[0]

    def total(kind, of=flows):
        return of[ENTRIES[kind]].sum(0)

    taken = total("input")
    work = taken - total("useful") - total("loss") - total("stored", change)
    heat = total("loss") - total("ambient") - total("heat_stored", change)
    return work / taken, heat / taken


def test_energy_of_production_is_where_the_ledger_says():
    plant = robots(6, override=0.83)
    for _ in range(4):
        work, heat = balances(plant.advance(1500, ledger=True).ledger)
        assert_allclose(work, 0.0, atol=1e-3)
        assert_allclose(heat, 0.0, atol=1e-9)


@pytest.mark.parametrize("steps", [7, 53, 240, 347])
def test_energy_is_balanced_over_any_stretch_of_time(steps):
    plant = robots(4, override=1.0)
    plant.advance(113)
    ledger = plant.advance(steps, ledger=True).ledger
    flows, change = ledger[1:].sum(0) * STEP, ledger[-1] - ledger[0]
    work = flows[ENTRIES["input"]].sum(0) - flows[ENTRIES["useful"]].sum(0) - flows[ENTRIES["loss"]].sum(0)
    assert_allclose(work - change[ENTRIES["stored"]].sum(0), 0.0, atol=60.0)


@pytest.mark.parametrize("state", ["waiting", "cold_start", "friction_test", "brake_test", "backlash_test"])
def test_energy_is_balanced_in_every_operating_state(state):
    work, heat = balances(robots(2, state=state).advance(900, ledger=True).ledger)
    assert_allclose(work, 0.0, atol=5e-3)
    assert_allclose(heat, 0.0, atol=1e-9)


def test_energy_of_a_worn_robot_is_balanced_too():
    worn = {mode.id: 0.8 for mode in MODES}
    work, heat = balances(robots(2, severity=worn).advance(1000, ledger=True).ledger)
    assert_allclose(work, 0.0, atol=1e-3)
    assert_allclose(heat, 0.0, atol=1e-9)


def test_no_component_makes_power():
    for severity in ({}, {mode.id: 1.0 for mode in MODES}):
        for state in ("handling", "friction_test"):
            ledger = robots(2, state=state, severity=severity).advance(400, ledger=True).ledger
            assert (ledger[:, ENTRIES["loss"]] >= 0).all()
            assert (ledger[:, ENTRIES["input"]] > 0).all()


def test_lifting_a_part_is_useful_work_of_its_weight_times_its_height():
    plant = robots(1, override=1.0, heavy_share=1.0)
    frames = plant.advance(240, ledger=True)
    loaded = np.isin(frames.phase[:, 0], [PHASE[name] for name in ("lift", "transfer", "place_down")])
    useful = frames.ledger[:, ENTRIES["useful"][0], 0]
    assert useful[~loaded] == pytest.approx(0.0, abs=1e-9)
    lift = frames.phase[:, 0] == PHASE["lift"]
    assert 150 * 9.8 * 0.2 < useful[lift].sum() * STEP < 150 * 9.8 * 1.0


def test_a_robot_does_the_same_alone_and_among_hundreds():
    many = GROUP + 30
    states = [("handling", "waiting", "friction_test", "cold_start")[number % 4] for number in range(many)]
    worn = {"R1": np.linspace(0, 1, many), "R9": np.linspace(0, 1, many), "R10": np.linspace(1, 0, many)}
    together = robots(many, state=states, severity=worn).advance(320, ledger=True)
    for one in (0, 3, GROUP - 1, GROUP + 26):
        alone = robots(
            1, state=states[one], severity={mode: values[one] for mode, values in worn.items()}, machine=one
        ).advance(320, ledger=True)
        assert together.values[:, :, one].tobytes() == alone.values[:, :, 0].tobytes()
        assert_array_equal(together.ledger[:, :, one], alone.ledger[:, :, 0])
        assert_array_equal(together.phase[:, one], alone.phase[:, 0])


def test_calls_may_be_cut_anywhere():
    changing = Schedule(
        np.array([[0.0, 20.0, 35.0], [0.0, 5.0, 30.0]]),
        np.array([[STATE["handling"], STATE["friction_test"], STATE["handling"]],
                  [STATE["waiting"], STATE["brake_test"], STATE["handling"]]]),
    )  # fmt: skip
    whole = robots(2, schedule=changing, severity={"R9": 1.0}).advance(1600, ledger=True)
    cut = robots(2, schedule=changing, severity={"R9": 1.0})
    pieces = [cut.advance(steps, ledger=True) for steps in (1, 6, 13, 20, 97, 203, 260, 1000)]
    assert whole.values.tobytes() == np.concatenate([piece.values for piece in pieces]).tobytes()
    assert_array_equal(whole.ledger, np.concatenate([piece.ledger for piece in pieces]))
    for part in ("state", "phase", "cycle"):
        assert_array_equal(getattr(whole, part), np.concatenate([getattr(piece, part) for piece in pieces]))


@pytest.mark.parametrize("state", ["handling", "friction_test", "brake_test", "backlash_test"])
def test_severity_zero_is_the_healthy_robot_bit_for_bit(state):
    none = {mode.id: 0.0 for mode in MODES}
    healthy = robots(2, state=state).advance(500)
    assert healthy.values.tobytes() == robots(2, state=state, severity=none).advance(500).values.tobytes()
    mixed = robots(2, state=state, severity={mode.id: [0.0, 0.7] for mode in MODES}).advance(500)
    assert healthy.values[:, :, 0].tobytes() == mixed.values[:, :, 0].tobytes()


def test_half_the_time_step_changes_hardly_anything():
    class Fine(RobotPlant):
        STEP_S = STEP / 2

    coarse, fine = robots(4, override=1.0), robots(4, override=1.0, kind=Fine)
    slow, quick = coarse.advance(960), fine.advance(1920)
    for joint in range(1, 7):
        current = f"j{joint}_motor.i_q"
        assert_allclose(root_mean_square(quick, current), root_mean_square(slow, current), rtol=0.01)
        for phase in ("lift", "transfer", "place_down", "return"):
            here, there = slow.phase[:, 0] == PHASE[phase], quick.phase[:, 0] == PHASE[phase]
            scale = root_mean_square(slow, current)[0]
            assert abs(seen(slow, current)[here, 0].mean() - seen(quick, current)[there, 0].mean()) < 0.01 * scale
    for sensor in ("j2_motor.t_motor", "j2_reducer.t_gear", "drive_cabinet.t", "drive_cabinet.p_in", "gripper.p"):
        assert_allclose(mean_seen(quick, sensor), mean_seen(slow, sensor), rtol=0.01)


def test_settled_temperatures_are_those_that_work_leads_to():
    plant = robots(2, ambient_k=293.15, override=0.9)
    first = plant.advance(20)
    plant.advance(20 * 600)
    later = plant.advance(20)
    for sensor in ("j1_motor.t_motor", "j2_reducer.t_gear", "j3_reducer.t_gear", "drive_cabinet.t"):
        assert_allclose(mean_seen(later, sensor), mean_seen(first, sensor), atol=4.0)


def test_parameters_may_change_while_temperatures_stay():
    plant = robots(1)
    before = plant.advance(400)
    from gnn_service.demo.modes import degrade
    from gnn_service.demo.parameters import alike, nominal

    plant.set_parameters(degrade(alike(nominal("robot"), 1), MODES, {"R2": np.ones(1)}))
    after = plant.advance(20)
    assert abs(seen(after, "j3_reducer.t_gear")[0, 0] - seen(before, "j3_reducer.t_gear")[-1, 0]) < 0.1
    assert np.isfinite(seen(after, "j3_motor.i_q")).all()
