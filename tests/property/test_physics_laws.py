"""Laws that the physics keeps for all values in its range, not only for those of one rig."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gnn_service.physics.gas import filling_deficit, gas_volume
from gnn_service.physics.pumps import leakage_fraction, reference_flow
from gnn_service.physics.valves import switching_delay

bar = st.floats(20.0, 350.0).map(lambda value: value * 1e5)
kelvin = st.floats(253.0, 373.0)
litre = st.floats(0.1, 50.0).map(lambda value: value * 1e-3)
exponent = st.floats(1.0, 1.4)
flow = st.floats(0.1, 400.0).map(lambda value: value * 1e-3 / 60)


@given(bar, bar, bar, kelvin, litre, exponent)
def test_gas_volume_falls_with_oil_pressure_and_never_leaves_the_shell(one, other, charge, temperature, shell, n):
    low, high = sorted((one, other))
    small = gas_volume(high, charge, temperature, shell_m3=shell, exponent=n)
    large = gas_volume(low, charge, temperature, shell_m3=shell, exponent=n)
    assert 0 < small <= large <= shell


@given(bar, bar, bar, kelvin, kelvin, litre, exponent)
def test_gas_volume_grows_with_charge_and_with_temperature(pressure, one, other, cold, hot, shell, n):
    charges, temperatures = sorted((one, other)), sorted((cold, hot))
    volume = [
        gas_volume(pressure, charge, temperature, shell_m3=shell, exponent=n)
        for charge, temperature in zip(charges, temperatures, strict=True)
    ]
    assert volume[0] <= volume[1] * (1 + 1e-12)


@given(bar, bar, kelvin, st.floats(0.05, 0.95), st.floats(0.05, 0.95), litre, exponent, flow)
def test_filling_deficit_grows_with_charge_below_the_start_pressure(one, other, temperature, a, b, shell, n, pumped):
    start, end = sorted((one, other))
    charges = [share * start * 293.15 / temperature for share in sorted((a, b))]
    less, more = (
        filling_deficit(start, end, charge, temperature, flow_m3s=pumped, shell_m3=shell, exponent=n)
        for charge in charges
    )
    assert 0 <= less <= more * (1 + 1e-9)


@given(bar, bar, bar, kelvin, litre, exponent, flow, st.floats(1.01, 5.0))
def test_filling_deficit_is_inverse_to_pump_flow(one, other, charge, temperature, shell, n, pumped, factor):
    start, end = sorted((one, other))
    slow, fast = (
        filling_deficit(start, end, charge, temperature, flow_m3s=q, shell_m3=shell, exponent=n)
        for q in (pumped, factor * pumped)
    )
    assert np.isclose(slow, factor * fast, rtol=1e-9, atol=0.0)


@given(flow, st.floats(-0.5, 0.99))
def test_leakage_gives_back_the_share_that_was_taken(reference, lost):
    assert np.isclose(leakage_fraction(reference * (1 - lost), reference), lost, atol=1e-12)


@given(flow, kelvin, kelvin, st.floats(-0.05, 0.05))
def test_reference_flow_there_and_back_is_the_same(pumped, one, other, slope):
    there = reference_flow(pumped, other, one, slope)
    assert np.isclose(reference_flow(there, one, other, slope), pumped, rtol=1e-9)


@given(st.floats(0.0, 1.0), st.floats(1e5, 350e5), st.floats(0.01, 60.0))
def test_switching_delay_lies_within_the_stretch_and_gives_back_the_shut_share(shut, settled, duration):
    delay = switching_delay((1 - shut) * settled, settled, duration)
    assert np.isclose(delay, shut * duration, atol=1e-9 * duration)
