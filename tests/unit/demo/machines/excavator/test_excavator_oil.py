"""The oil of the excavator: where it settles, and what becomes of heat and dirt once the engine stands."""

import numpy as np
import pytest

from gnn_service.demo.machines.excavator.plant import Excavator
from gnn_service.domain.shipped import shipped_machine

NAMES = [entry.name for entry in Excavator.LEDGER]
SIZES = ("4", "6", "14")
AIR_K = 298.15


class Coarse(Excavator):
    """Oil changes in minutes: five times the step does it little harm."""

    STEP_S = 0.5


@pytest.fixture(scope="module")
def settled(build):
    """A machine in each operating state, settled, and its first minute and a half."""
    plant = build(Excavator.STATES, kind=Coarse, settle=True)
    return plant, plant._oil.temperature.copy(), plant.advance(180)


def test_particles_stand_still_with_the_engine_off(build):
    plant = build(("off", "truck_loading"), site={"dust": 3.0}, kind=Coarse)
    before = plant._oil.particles.copy()
    plant.advance(600)
    moved = plant._oil.particles != before
    assert not moved[:, 0].any()
    assert moved[:, 1].all()


def test_the_particle_counter_shows_nothing_without_flow(settled, sensor):
    _, _, frames = settled
    turning = sensor(frames, "pump_main_1.engine_speed") > 0.0
    assert not turning[:, Excavator.STATES.index("off")].any()
    for size in SIZES:
        assert (np.isfinite(sensor(frames, f"hydraulic_tank.iso_{size}")) == turning).all()


def test_healthy_oil_stays_within_the_cleanliness_of_the_description_whatever_the_work(settled, sensor):
    _, _, frames = settled
    described = {one.id: one.normal for one in shipped_machine("excavator").sensors}
    for size in SIZES:
        normal = described[f"hydraulic_tank.iso_{size}"]
        codes = sensor(frames, f"hydraulic_tank.iso_{size}")
        assert normal.low < np.nanmin(codes) <= np.nanmax(codes) < normal.high


def test_twice_the_dust_is_one_code_more(build):
    plant = build(("truck_loading",) * 2, site={"dust": np.array([1.0, 2.0])}, kind=Coarse, settle=True)
    plant.advance(240)
    assert np.diff(plant._oil.codes) == pytest.approx(1.0, abs=0.02)


def test_a_parked_machine_cools_through_its_surface_alone(build, sensor):
    plant = build(("off",), kind=Coarse)
    start = plant._oil.temperature[0] - AIR_K
    frames = plant.advance(1200, ledger=True)
    left = plant._oil.temperature[0] - AIR_K
    assert left / start == pytest.approx(np.exp(-150.0 * 600.0 / 640e3), rel=1e-3)
    assert (frames.ledger[:, NAMES.index("cooler")] == 0.0).all()
    assert (sensor(frames, "oil_cooler.fan_speed") == 0.0).all()


def test_the_cooler_stops_and_starts_with_the_engine(build, sensor):
    frames = build(("hold_test",), kind=Coarse).advance(420, ledger=True)
    runs = sensor(frames, "pump_main_1.engine_speed")[:, 0] > 0.0
    cooled = frames.ledger[:, NAMES.index("cooler"), 0]
    assert 0.0 < runs.mean() < 1.0
    assert ((cooled > 0.0) == runs).all()


def test_a_pause_and_tests_of_minutes_begin_with_the_oil_of_truck_loading(settled):
    _, oil, _ = settled
    for state in ("off", "hold_test", "stall"):
        assert oil[Excavator.STATES.index(state)] == pytest.approx(oil[0], abs=0.1)


def test_a_warm_up_begins_as_cold_as_the_air(settled, sensor):
    plant, oil, frames = settled
    cold = Excavator.STATES.index("warm_up")
    assert oil[cold] == AIR_K
    assert sensor(frames, "oil_cooler.t_out")[0, cold] == pytest.approx(AIR_K - 273.15, abs=0.1)
    assert plant._oil.temperature[cold] > AIR_K


def test_a_settled_machine_begins_at_the_engine_speed_of_its_state(settled, sensor):
    _, _, frames = settled
    speed = dict(zip(Excavator.STATES, sensor(frames, "pump_main_1.engine_speed")[0], strict=True))
    assert (speed["off"], speed["idle"], speed["truck_loading"]) == pytest.approx((0.0, 1000.0, 1650.0), abs=0.5)
