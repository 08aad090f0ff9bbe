"""Energy, oil and limits: what goes in comes out, whatever the machine does."""

import numpy as np
import pytest

from gnn_service.demo.machines.excavator.plant import Excavator

KINDS = np.array([entry.kind for entry in Excavator.LEDGER])
NAMES = [entry.name for entry in Excavator.LEDGER]


class Coarse(Excavator):
    """Temperatures change in minutes: five times the step does them little harm."""

    STEP_S = 0.5


WORK = ("truck_loading", "hard_digging", "levelling", "heavy_lift", "travel", "warm_up", "stall", "idle", "hold_test")


@pytest.fixture(scope="module")
def worked(build):
    plant = build(WORK)
    return plant, plant.advance(2000, ledger=True)


def test_energy_in_is_work_plus_losses_plus_what_is_stored(worked):
    _, frames = worked
    powers = frames.ledger[1:].sum(axis=0) * Excavator.STEP_S
    taken = powers[KINDS == "input"].sum(axis=0)
    given = powers[KINDS == "useful"].sum(axis=0) + powers[KINDS == "loss"].sum(axis=0)
    stored = (frames.ledger[-1] - frames.ledger[0])[KINDS == "stored"].sum(axis=0)
    assert abs(taken - given - stored) / taken == pytest.approx(0.0, abs=0.005)


def test_every_loss_warms_the_oil_or_the_air(worked):
    _, frames = worked
    powers = frames.ledger[1:].sum(axis=0) * Excavator.STEP_S
    stored = (frames.ledger[-1] - frames.ledger[0])[KINDS == "heat_stored"].sum(axis=0)
    lost = powers[KINDS == "loss"].sum(axis=0)
    assert (lost - powers[KINDS == "ambient"].sum(axis=0) - stored) / lost == pytest.approx(0.0, abs=1e-9)


def test_no_component_creates_power(worked):
    _, frames = worked
    losses = frames.ledger[:, KINDS == "loss"]
    back = NAMES.index("return_line")  # make-up valves draw some oil back from it
    others = (KINDS == "loss") & (np.arange(len(KINDS)) != back)
    assert frames.ledger[:, others].min() > -1.0
    assert (losses.mean(axis=0) >= 0.0).all()
    assert (frames.ledger[:, KINDS == "input"] >= 0.0).all()


def test_oil_that_leaves_the_tank_is_in_the_cylinders(build):
    plant = build(("truck_loading", "hard_digging", "levelling", "hold_test"))
    cylinders = plant._cylinders
    rods = cylinders.head_area - cylinders.rod_area
    start = (rods * cylinders.place).sum(axis=0) + plant.tank_volume
    moved = np.zeros(4)
    for _ in range(20):
        before = cylinders.place.copy()
        plant.advance(20)
        moved += (rods * abs(cylinders.place - before)).sum(axis=0)
    end = (rods * cylinders.place).sum(axis=0) + plant.tank_volume
    assert abs(end - start).max() < 1e-6 * moved.min()


def test_flows_to_and_from_the_tank_balance_in_every_step(build):
    plant = build(WORK)
    cylinders = plant._cylinders
    rods = cylinders.head_area - cylinders.rod_area
    for _ in range(300):
        places, tank = cylinders.place.copy(), plant.tank_volume.copy()
        plant.advance(1)
        flow = (plant.tank_volume - tank + (rods * (cylinders.place - places)).sum(axis=0)) / Excavator.STEP_S
        assert abs(flow).max() < 1e-9


def test_the_level_falls_by_the_volume_of_the_rods(build, sensor):
    plant = build(("truck_loading",))
    frames = plant.advance(400)
    rods = (plant._cylinders.head_area - plant._cylinders.rod_area)[:, 0]
    strokes = plant._cylinders.stroke[:, 0]
    places = [sensor(frames, f"{name}_cylinder.pos")[:, 0] / 100 for name in ("boom", "stick", "bucket")]
    volume = sum(area * stroke * place for area, stroke, place in zip(rods, strokes, places, strict=True))
    level = sensor(frames, "hydraulic_tank.level")[:, 0] / 100 * 0.145
    assert np.ptp(level) > 0.005
    assert np.ptp(level + volume) < 1e-5


@pytest.mark.parametrize("ambient_c, low, high", [(25.0, 60.0, 80.0), (40.0, 70.0, 95.0)])
def test_loading_trucks_keeps_the_oil_in_the_range_of_the_class(build, sensor, ambient_c, low, high):
    frames = build(("truck_loading",), site={"ambient_k": ambient_c + 273.15}, kind=Coarse, settle=True).advance(40)
    oil = sensor(frames, "hydraulic_tank.t_oil")
    assert low < oil.min() <= oil.max() < high


def test_from_cold_the_oil_takes_twelve_to_twenty_five_minutes_for_two_thirds_of_its_rise(build, sensor):
    settled = build(("truck_loading",), kind=Coarse, settle=True).advance(1)
    rise = sensor(settled, "hydraulic_tank.t_oil")[0, 0] - 25.0
    plant = build(("warm_up",), kind=Coarse, oil_c=None)
    oil = np.concatenate([sensor(plant.advance(120), "hydraulic_tank.t_oil")[-1] for _ in range(25)])
    warm = 25.0 + rise * (1 - np.exp(-1))
    assert oil[11] < warm < oil[24]


def test_pressures_stay_below_the_relief_valves_and_above_nothing(worked, sensor):
    _, frames = worked
    highest = np.where(np.array(WORK) == "heavy_lift", 380.0, 350.0) * 1.06
    for pump in (1, 2):
        pressure = sensor(frames, f"pump_main_{pump}.p_out")
        assert (pressure <= highest).all()
        assert (pressure >= 0.0).all()
    assert sensor(frames, "swing_motor.p_a").max() <= 276.0


def test_every_reading_is_in_its_range_and_finite_where_there_is_something_to_measure(worked, sensor):
    from gnn_service.domain.shipped import shipped_machine

    _, frames = worked
    turning = sensor(frames, "pump_main_1.engine_speed") > 0.0
    for one in shipped_machine("excavator").sensors:
        values = sensor(frames, one.id)
        if one.quantity == "particle_code":
            assert (np.isfinite(values) == turning).all(), one.id
        elif not one.id.endswith("drift_3min"):
            assert np.isfinite(values).all(), one.id
        shown = values[np.isfinite(values)]
        assert (shown >= one.range.low - 1e-3).all(), one.id
        assert (shown <= one.range.high + 1e-3).all(), one.id


def test_shaft_power_follows_pressure_times_stroke(worked, sensor):
    _, frames = worked
    shaft = frames.ledger[:, NAMES.index("pump_1_shaft"), 0]
    product = sensor(frames, "pump_main_1.p_out")[:, 0] * sensor(frames, "pump_main_1.disp_cmd")[:, 0]
    assert np.corrcoef(shaft, product)[0, 1] > 0.95
