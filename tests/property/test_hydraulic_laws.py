"""Laws of the hydraulic equations: signs, limits, and the same answer in any consistent units."""

import numpy as np
import pint
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnn_service.physics import cylinders, filters, lines, motors, pumps, thermal, valves
from gnn_service.physics.fluid import effective_bulk_modulus, kinematic_viscosity, walther

UNITS: "pint.UnitRegistry[float]" = pint.UnitRegistry()
Q = UNITS.Quantity
pressure = st.floats(1e5, 400e5)
kelvin = st.floats(253.0, 383.0)


@given(kelvin, kelvin, st.floats(20e-6, 100e-6))
def test_oil_never_thickens_when_it_warms(one, other, nu40):
    cold, hot = sorted((one, other))
    grade = walther(nu40, 0.15 * nu40)
    assert kinematic_viscosity(cold, grade) >= kinematic_viscosity(hot, grade) > 0


@given(pressure, st.floats(0.0, 0.1), st.floats(0.0, 0.1))
def test_air_never_stiffens_oil(absolute, one, other):
    less, more = sorted((one, other))
    assert (
        effective_bulk_modulus(absolute, 1.3e9, more) <= effective_bulk_modulus(absolute, 1.3e9, less) <= 1.3e9 * 1.001
    )


@given(pressure, st.floats(0.0, 1.0), st.floats(1e-12, 1e-10))
def test_a_pump_gives_no_more_power_than_it_takes(dp, stroke, coefficient):
    leakage = pumps.leakage_flow(coefficient, dp)
    flow = pumps.delivered_flow(stroke, 132e-6, 27.5, leakage)
    torque = pumps.shaft_torque(stroke, 132e-6, dp, 27.5, viscosity=0.017, friction=0.03, drag=6e4, idle=8.0)
    assert flow * dp < torque * 2 * np.pi * 27.5


@given(st.floats(0.0, 7e-3), st.floats(1e8, 4e9), st.floats(0.005, 0.5))
def test_a_bypass_neither_makes_nor_swallows_flow(flow, resistance, viscosity):
    drop, share = filters.bypassed(flow, resistance, viscosity, cracking=2e5, slope=8e-8)
    assert 0 <= share < 1
    assert drop / (resistance * viscosity) + share * flow == pytest.approx(flow, abs=1e-9)


@given(st.floats(0.01, 8.0), st.floats(0.01, 1.0))
def test_no_exchanger_gives_more_than_all_heat(units, ratio):
    for law in (thermal.effectiveness_cross, thermal.effectiveness_counter):
        assert 0 < law(units, ratio) < 1


HOMOGENEOUS = {
    "pump leakage": lambda q: pumps.leakage_flow(q(2.4e-5, "L/min/bar"), q(300, "bar")),
    "pump delivery": lambda q: pumps.delivered_flow(0.8, q(132, "cm**3"), q(1650, "1/min"), q(7, "L/min")),
    "pump torque": lambda q: pumps.shaft_torque(
        0.8,
        q(132, "cm**3"),
        q(300, "bar"),
        q(1650, "1/min"),
        viscosity=q(17, "mPa*s"),
        friction=0.03,
        drag=6e4,
        idle=q(8, "N*m"),
    ),
    "pump limit": lambda q: pumps.torque_limited_stroke(
        q(0.3, "kN*m"),
        q(132, "cm**3"),
        q(300, "bar"),
        q(1650, "1/min"),
        viscosity=q(17, "mPa*s"),
        friction=0.03,
        drag=6e4,
        idle=q(8, "N*m"),
    ),
    "regulator": lambda q: pumps.regulator_torque(q(0.3, "kN*m"), q(150, "bar"), q(230, "bar"), 0.3),
    "filling": lambda q: pumps.fill_factor(q(500, "mbar"), 1.0, vapour=q(0.15, "bar"), needed=q(0.55, "bar")),
    "holding speed": lambda q: pumps.holding_speed(q(1.1, "L/min"), q(100, "cm**3")),
    "orifice": lambda q: valves.orifice_flow(q(3, "mm**2"), q(80, "bar"), q(0.85, "kg/L"), smoothing=q(0.2, "bar")),
    "orifice drop": lambda q: valves.orifice_drop(q(40, "L/min"), q(12, "mm**2"), q(0.85, "kg/L")),
    "relief": lambda q: valves.relief_flow(q(352, "bar"), q(350, "bar"), q(15, "L/min/bar")),
    "compensator": lambda q: valves.compensated_share(q(5, "bar"), q(2, "MPa")),
    "line": lambda q: lines.line_drop(
        q(90, "L/min"), q(450, "cm"), q(25, "mm"), density=q(0.85, "kg/L"), kinematic_viscosity=q(20, "mm**2/s")
    ),
    "chamber": lambda q: lines.pressure_rate(q(2, "L/min"), q(4, "L"), q(1.2, "GPa")),
    "held load": lambda q: cylinders.held_pressures(
        q(300, "kN"), q(226, "cm**2"), q(113, "cm**2"), seal=q(1.2e-6, "L/min/bar"), spool=q(6e-6, "L/min/bar")
    )[2],
    "drift": lambda q: cylinders.drift(q(1.2e-6, "L/min/bar"), q(140, "bar"), q(226, "cm**2"), q(3, "min")),
    "arm": lambda q: cylinders.triangle_arm(q(240, "cm"), q(90, "cm"), q(2450, "mm")),
    "motor": lambda q: motors.motor_torque(q(151, "cm**3"), q(268, "bar"), 0.95),
    "filter": lambda q: filters.bypassed(
        q(300, "L/min"), q(3.6e8, "1/m**3"), q(90, "mPa*s"), cracking=q(2, "bar"), slope=q(500, "L/min/bar")
    )[0],
    "cooler": lambda q: thermal.overall_conductance(q(2, "kW/K"), q(3, "kW/K"), q(0.1, "K/kW")),
    "node": lambda q: thermal.node_decay(q(0.9, "kW/K"), q(640, "kJ/K"), q(10, "min")),
}


@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_an_equation_gives_the_same_in_shop_units_and_in_si(name):
    with_units = HOMOGENEOUS[name](Q).to_base_units().magnitude
    in_si = HOMOGENEOUS[name](lambda value, unit: Q(value, unit).to_base_units().magnitude)
    assert float(with_units) == pytest.approx(float(in_si), rel=1e-12)
