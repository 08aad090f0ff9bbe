"""Flow, torque, filling and control of displacement pumps: known answers and limits."""

import numpy as np
import pytest

from gnn_service.physics import pumps

D, N = 132e-6, 27.5
LOSSES = {"viscosity": 0.017, "friction": 0.03, "drag": 6e4, "idle": 8.0}
REGULATOR = {"corner": 330e5, "easing": 0.40}


def test_a_healthy_pump_at_300_bar_delivers_967_thousandths_of_its_displacement():
    leakage = pumps.leakage_flow(4e-12, 300e5)
    assert pumps.delivered_flow(1.0, D, N, leakage) / (D * N) == pytest.approx(0.967, abs=0.001)


def test_a_healthy_pump_at_300_bar_turns_926_thousandths_of_its_torque_into_pressure():
    torque = pumps.shaft_torque(1.0, D, 300e5, N, **LOSSES)
    assert D * 300e5 / (2 * np.pi) / torque == pytest.approx(0.926, abs=0.004)


def test_thin_oil_leaks_more():
    assert pumps.leakage_flow(4e-12, 300e5, 2.0) == 2 * pumps.leakage_flow(4e-12, 300e5, 1.0)


def test_the_limited_stroke_takes_exactly_the_torque_that_is_allowed():
    stroke = pumps.torque_limited_stroke(300.0, D, 250e5, N, **LOSSES)
    assert 0 < stroke < 1
    assert pumps.shaft_torque(stroke, D, 250e5, N, **LOSSES) == pytest.approx(300.0)


def test_no_torque_leaves_no_stroke():
    assert pumps.torque_limited_stroke(5.0, D, 250e5, N, **LOSSES) == 0.0


@pytest.mark.parametrize("bar, litres", [(90, 208), (150, 181), (230, 139), (300, 108), (330, 103)])
def test_the_regulator_gives_the_flow_of_the_service_table_within_a_tenth(bar, litres):
    """Main pump flow test of the 320E RR at 1 800 1/min: 54 to 57 kW of oil, displacement for 208 L/min at 90 bar."""
    pressure, speed, displacement = bar * 1e5, 30.0, 117e-6
    allowed = pumps.regulator_torque(70e3 / (2 * np.pi * speed), pressure, **REGULATOR)
    stroke = np.minimum(pumps.torque_limited_stroke(allowed, displacement, pressure, speed, **LOSSES), 1.0)
    flow = pumps.delivered_flow(stroke, displacement, speed, pumps.leakage_flow(4e-12, pressure))
    assert flow * 60e3 == pytest.approx(litres, rel=0.1)


def test_four_times_the_leakage_loses_the_flow_between_new_and_service_limit():
    """The service limit lies 31 to 38 L/min below a new pump above 150 bar: at 330 bar that is 1.7e-11 m3/s/Pa."""
    lost = pumps.leakage_flow(1.7e-11, 330e5) * 60e3
    assert lost == pytest.approx(33, rel=0.05)


def test_a_pump_fills_while_its_inlet_has_pressure_and_starves_below():
    assert pumps.fill_factor(1.0e5, 1.0) == 1.0
    assert pumps.fill_factor(0.4e5, 1.0) == pytest.approx(0.25 / 0.55, abs=0.05)
    assert pumps.fill_factor(0.0, 1.0) == 0.5


def test_a_slower_pump_fills_at_less_inlet_pressure():
    assert pumps.fill_factor(0.55e5, 0.8) > pumps.fill_factor(0.55e5, 1.0)


def test_the_inlet_falls_below_the_tank_with_flow_and_thick_oil():
    lines = {"laminar": 5e7, "turbulent": 8e8}
    thin = pumps.suction_pressure(1e5, 3e-3, viscosity=0.01, **lines)
    thick = pumps.suction_pressure(1e5, 3e-3, viscosity=0.1, **lines)
    assert thick < thin < 1e5


def test_a_servo_pump_holds_pressure_at_the_speed_of_its_leakage():
    leakage = pumps.leakage_flow(1.2e-12, 150e5)
    assert pumps.holding_speed(leakage, 100e-6) * 60 == pytest.approx(10.8, rel=0.01)
    assert pumps.holding_speed(leakage, 100e-6, outflow=leakage) == pytest.approx(
        2 * pumps.holding_speed(leakage, 100e-6)
    )


def test_the_housing_stands_above_the_tank_by_its_drain_line():
    assert pumps.case_pressure(1e-4, 4e10, 0.012, 0.2e5) == pytest.approx(0.2e5 + 4e10 * 0.012 * 1e-4)


def test_the_flow_that_brings_the_inlet_to_the_vapour_pressure_is_the_limit_of_the_suction_line():
    line = {"viscosity": 0.5, "laminar": 4e7, "turbulent": 2e8}
    most = pumps.suction_limit(1.2e5, 0.15e5, **line)
    assert pumps.suction_pressure(1.2e5, most, **line) == pytest.approx(0.15e5)
