from typing import ClassVar

import numpy as np
import pytest

from gnn_service.demo.fleet import fleet_parameters, setting_of, shift_schedule, site_factors, usual_site
from gnn_service.demo.plant import SiteFactor
from gnn_service.demo.spread import Spread, spread_of
from gnn_service.demo.streams import Key
from gnn_service.demo.systems import System
from tests.support.tiny_plant import TinyPlant, tiny_system

SYSTEM = tiny_system()
KEYS = [Key(2, machine) for machine in range(400)]


def test_a_machine_has_the_same_parts_site_and_work_whatever_fleet_it_is_in():
    crowd = setting_of(SYSTEM, KEYS[:50], shift_schedule(SYSTEM, KEYS[:50], 1_000.0))
    alone = setting_of(SYSTEM, KEYS[31:32], shift_schedule(SYSTEM, KEYS[31:32], 1_000.0))
    assert all(crowd.parameters[name][31] == alone.parameters[name][0] for name in alone.parameters)
    assert all(crowd.site[name][31] == alone.site[name][0] for name in alone.site)
    assert (crowd.schedule.states[31] == alone.schedule.states[0]).all()


def test_the_parts_of_a_machine_stay_while_its_site_and_work_change_from_window_to_window():
    one, other = [Key(2, 5, 0)], [Key(2, 5, 1)]
    assert fleet_parameters(SYSTEM, one) == fleet_parameters(SYSTEM, other)
    assert site_factors(TinyPlant, one) != site_factors(TinyPlant, other)


def test_parameters_differ_by_their_class():
    parameters = fleet_parameters(SYSTEM, KEYS)
    leakage = np.log(parameters["pump.k_leak"] / 4e-12)
    assert leakage.std() == pytest.approx(0.25, rel=0.12)
    relief = parameters["valve.relief_pressure"] / 350e5
    assert relief.min() >= 0.985
    assert relief.max() <= 1.015
    assert relief.std() > 0.003
    conductance = parameters["tank.surface_ua"] / 150
    assert 0.92 <= conductance.min() < 0.95
    assert 1.05 < conductance.max() <= 1.08
    assert (parameters["pump.flow"] == parameters["pump.flow"][0]).all()


@pytest.mark.parametrize(
    ("name", "law", "width"),
    [
        ("boom_cylinder.bore", "relative", 0.001),
        ("boom_cylinder.area_head", "relative", 0.001),
        ("boom_cylinder.k_seal", "lognormal", 0.25),
        ("boom_cylinder.seal_leakage", "lognormal", 0.25),
        ("swing_motor.leakage_coefficient", "lognormal", 0.25),
        ("x_axis.friction_torque", "relative", 0.15),
        ("main_control_valve.relief_pressure", "relative", 0.015),
        ("oil_cooler.ua", "relative", 0.08),
        ("boom_cylinder.stroke", "none", 0.0),
        ("pump_main_1.displacement", "none", 0.0),
    ],
)
def test_a_parameters_name_tells_its_class(name, law, width):
    assert spread_of(name) == Spread(law, width)


def test_a_machine_may_declare_a_spread_of_its_own():
    own = {"pump.flow": Spread("relative", 0.1), "pump.k_leak": Spread("none")}
    system = System("tiny", SYSTEM.machine, TinyPlant, SYSTEM.modes, SYSTEM.shift, spread=own)
    parameters = fleet_parameters(system, KEYS)
    assert np.ptp(parameters["pump.flow"]) > 0
    assert np.ptp(parameters["pump.k_leak"]) == 0


def test_sites_stay_within_what_the_plant_declares_and_spread_over_it():
    for name, values in site_factors(TinyPlant, KEYS).items():
        factor = TinyPlant.SITE[name]
        assert values.min() >= factor.low
        assert values.max() <= factor.high
        assert np.ptp(values) > 0.5 * (factor.high - factor.low)


def test_ambient_follows_the_hour_of_the_day_and_the_season():
    key = [Key(2, 9)]
    day = [site_factors(TinyPlant, key, [hour])["ambient_k"][0] for hour in (6.0, 18.0)]
    assert day[0] - day[1] == pytest.approx(0.2 * 50.0, abs=0.6)
    year = [site_factors(TinyPlant, key, [24.0 * day])["ambient_k"][0] for day in range(0, 365, 10)]
    assert np.ptp(year) > 10.0


def test_a_machine_is_run_by_a_crew_of_three():
    windows = [site_factors(TinyPlant, [Key(2, 5, window)])["operator"][0] for window in range(60)]
    assert len(set(windows)) == 3


def test_a_factor_without_room_stays_at_its_default():
    class Fixed(TinyPlant):
        SITE: ClassVar = {
            "ambient_k": SiteFactor(300.0, 300.0, 300.0, "air"),
            "program": SiteFactor(2.0, 2.0, 2.0, "program"),
        }

    assert site_factors(Fixed, KEYS[:2])["program"].tolist() == [2.0, 2.0]
    assert usual_site(Fixed, 2)["ambient_k"].tolist() == [300.0, 300.0]


def test_a_shift_mixes_states_by_their_share():
    schedule = shift_schedule(SYSTEM, KEYS, 1_500.0, 150.0)
    assert schedule.states.shape == (400, 10)
    assert (schedule.starts_s[0] == np.arange(10) * 150.0).all()
    share = np.bincount(schedule.states.ravel(), minlength=3) / schedule.states.size
    assert share == pytest.approx([0.8, 0.1, 0.1], abs=0.02)
