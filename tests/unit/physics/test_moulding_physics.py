"""Moulding: known answers, limits, and units that come out right."""

import numpy as np
import pint
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnn_service.demo.parameters import nominal
from gnn_service.physics import gas, moulding

P = nominal("moulding")
UNITS: "pint.UnitRegistry[float]" = pint.UnitRegistry()
Q = UNITS.Quantity
TOGGLE = (25.0, 0.0034, 0.8)


def test_5000_kilonewtons_stretch_four_bars_of_130_millimetres_by_448_microstrain():
    stress = moulding.tie_bar_stress(5e6, P["toggle_tiebars.bar_diameter"])
    strain = moulding.bar_strain(stress, P["toggle_tiebars.bar_modulus"])
    assert stress == pytest.approx(94e6, rel=0.005)
    assert strain == pytest.approx(448e-6, rel=0.002)
    assert strain * P["toggle_tiebars.bar_length"] == pytest.approx(1.30e-3, rel=0.005)
    assert P["toggle_tiebars.stiffness"] * P["toggle_tiebars.overclosing"] == pytest.approx(5e6, rel=0.002)


def test_the_screw_multiplies_injection_pressure_by_10_97():
    ring = 2 * np.pi / 4 * (P["injection_cylinder.bore"] ** 2 - P["injection_cylinder.rod"] ** 2)
    ratio = moulding.intensification(ring, np.pi / 4 * P["screw_unit.diameter"] ** 2)
    assert ratio == pytest.approx(10.97, abs=0.01)
    assert ratio * 170e5 == pytest.approx(186e6, rel=0.005)


@pytest.mark.parametrize(("charge", "litres"), [(110e5, 5.8), (80e5, 4.5), (45e5, 2.9)])
def test_the_accumulator_gives_less_between_170_and_140_bar_as_its_charge_falls(charge, litres):
    kept = {"shell_m3": P["accumulator.shell"], "exponent": P["accumulator.polytropic_exponent"]}
    full, empty = (gas.gas_volume(bar, charge, 293.15, **kept) for bar in (170e5, 140e5))
    assert (empty - full) * 1e3 == pytest.approx(litres, abs=0.06)


def test_gas_gives_the_work_that_it_cools_by():
    volumes = np.linspace(0.036, 0.041, 2001)
    temperature = gas.compressed_temperature(310.0, volumes[0], volumes)
    pressure = gas.gas_pressure(110e5, 0.05, volumes, temperature, 293.15)
    capacity = gas.heat_capacity(110e5, 0.05, 293.15)
    assert np.trapezoid(pressure, volumes) == pytest.approx(capacity * (310.0 - temperature[-1]), rel=1e-6)


def test_gas_warms_to_its_shell():
    assert gas.gas_relaxed(280.0, 300.0, 40.0, 40.0) == pytest.approx(300.0 - 20.0 / np.e)


def test_a_burst_bladder_keeps_what_is_left_of_the_gas():
    assert gas.burst_charge(110e5, 0.0) == 0.0


@given(distance=st.floats(1e-4, 0.45))
def test_the_platen_moves_by_the_crossheads_way_over_the_ratio(distance):
    step = 1e-7
    slope = (moulding.platen_travel(distance + step, *TOGGLE) - moulding.platen_travel(distance - step, *TOGGLE)) / (
        2 * step
    )
    assert 1.0 / slope == pytest.approx(moulding.toggle_ratio(distance, *TOGGLE), rel=1e-4)


def test_the_ratio_is_25_at_lock_and_half_at_the_knee():
    assert moulding.toggle_ratio(np.array([0.0, 0.0034, 0.4]), *TOGGLE) == pytest.approx([25.0, 12.5, 0.8])


def test_friction_takes_on_closing_what_it_does_not_give_back_on_opening():
    assert moulding.crosshead_force(5e6, 25.0, 0.1) > 2e5 > moulding.crosshead_force(5e6, 25.0, -0.1)


@given(imbalance=st.floats(0.0, 0.5))
def test_shares_of_the_bars_keep_their_mean_and_differ_by_the_imbalance(imbalance):
    shares = moulding.tie_bar_shares(imbalance)
    assert sum(shares) == pytest.approx(4.0)
    assert max(shares) - min(shares) == pytest.approx(imbalance)


def test_twice_the_flow_needs_a_quarter_more_pressure():
    once, twice = (moulding.filling_pressure(100e6, flow, 0.35, 1.0, 1.0) for flow in (1.0, 2.0))
    assert twice / once == pytest.approx(2**0.35)


def test_packing_in_two_steps_is_packing_in_one():
    first, second = moulding.packed_share(0.5, 0.7, 4.0, 0.8), moulding.packed_share(1.2, 0.9, 4.0, 0.8)
    assert 1.0 - (1.0 - first) * (1.0 - second) == pytest.approx(moulding.packed_share(0.5, 1.6, 4.0, 0.8))


def test_the_gate_is_frozen_in_the_end():
    assert moulding.packed_share(60.0, 100.0, 4.0, 0.8) == pytest.approx(0.0, abs=1e-5)


def test_zones_pass_heat_on_without_losing_any():
    zones = np.array([480.0, 500.0, 470.0, 510.0])[:, None]
    heat = moulding.zone_heat(zones, 18.0, np.zeros_like(zones), 295.0)
    assert heat.sum() == pytest.approx(0.0, abs=1e-9)
    assert moulding.zone_heat(np.full((4, 1), 400.0), 18.0, np.full((4, 1), 2.0), 300.0) == pytest.approx(-200.0)


def test_back_pressure_costs_rate_and_never_more_than_all_of_it():
    assert moulding.plasticising_rate(0.09, 1.0, 8.8e6, 5e-9) == pytest.approx(0.09 * 0.956)
    assert moulding.plasticising_rate(0.09, 1.0, 1e9, 5e-9) == 0.0


def test_units_pass_through_to_what_is_meant():
    force = moulding.clamp_force(Q(3.85, "GN/m"), Q(1.3, "mm"), Q(0.1, "mm"))
    assert force.to("kN").magnitude == pytest.approx(4620.0)
    assert moulding.clamp_energy(force, Q(3.85, "GN/m")).to("kJ").magnitude == pytest.approx(2.772)
    travel = moulding.platen_travel(Q(10.0, "mm"), 25.0, Q(3.4, "mm"), 0.8)
    assert travel.to("m").magnitude == pytest.approx(moulding.platen_travel(0.010, *TOGGLE))
    stress = moulding.tie_bar_stress(Q(5000.0, "kN"), Q(13.0, "cm"))
    assert moulding.bar_strain(stress, Q(210.0, "GPa")).to("").magnitude == pytest.approx(448e-6, rel=0.002)
    back = moulding.ring_flow(Q(0.2, "percent/s"), Q(1257.0, "cm**3"), Q(66.0, "MPa"), Q(600.0, "bar"))
    assert back.to("cm**3/s").magnitude == pytest.approx(2.765, rel=1e-3)
    assert moulding.melt_thinning(Q(230.0, "K"), Q(220.0, "K"), Q(0.012, "1/K")).to("").magnitude == pytest.approx(
        np.exp(-0.12)
    )
    assert moulding.plasticising_rate(Q(90.0, "g/s"), 1.0, Q(88.0, "bar"), Q(0.005, "1/MPa")).to(
        "kg/s"
    ).magnitude == pytest.approx(0.09 * 0.956)
    pressure = gas.gas_pressure(Q(110.0, "bar"), Q(50.0, "L"), Q(25.0, "L"), Q(293.15, "K"), Q(293.15, "K"))
    assert pressure.to("bar").magnitude == pytest.approx(220.0)
    assert gas.heat_capacity(Q(110.0, "bar"), Q(50.0, "L"), Q(293.15, "K")).to("J/K").magnitude == pytest.approx(
        gas.heat_capacity(110e5, 0.05, 293.15)
    )
