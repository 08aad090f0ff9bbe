"""Gas side of an accumulator: known answers and limits."""

import numpy as np
import pytest

from gnn_service.physics.gas import REFERENCE_TEMPERATURE_K, charge_at, filling_deficit, gas_volume

SHELL = 0.55e-3
GAS = {"shell_m3": SHELL, "exponent": 1.2}


def test_charge_is_quoted_at_twenty_degrees():
    assert charge_at(130e5, REFERENCE_TEMPERATURE_K) == pytest.approx(130e5)


def test_charge_follows_absolute_temperature():
    assert charge_at(100e5, 2 * REFERENCE_TEMPERATURE_K) == pytest.approx(200e5)
    assert charge_at(130e5, 309.15) / charge_at(130e5, 330.15) == pytest.approx(309.15 / 330.15)


def test_isothermal_gas_at_twice_its_charge_fills_half_the_shell():
    volume = gas_volume(200e5, 100e5, REFERENCE_TEMPERATURE_K, shell_m3=SHELL, exponent=1.0)
    assert volume == pytest.approx(SHELL / 2)


def test_adiabatic_gas_gives_way_less_than_isothermal_gas():
    isothermal, adiabatic = (
        gas_volume(200e5, 100e5, REFERENCE_TEMPERATURE_K, shell_m3=SHELL, exponent=n) for n in (1.0, 1.4)
    )
    assert adiabatic == pytest.approx(SHELL * 0.5 ** (1 / 1.4))
    assert adiabatic > isothermal


@pytest.mark.parametrize("pressure", [0.0, 1.0, 50e5, 99.9e5, 100e5])
def test_below_its_charge_pressure_an_accumulator_is_empty_and_gas_fills_the_shell(pressure):
    assert gas_volume(pressure, 100e5, REFERENCE_TEMPERATURE_K, **GAS) == SHELL


def test_shapes_broadcast():
    volume = gas_volume(np.full((4, 1, 6), 150e5), np.full((1, 3, 1), 100e5), np.full((4, 1, 1), 300.0), **GAS)
    assert volume.shape == (4, 3, 6)


def test_nothing_is_filled_between_equal_pressures():
    assert filling_deficit(150e5, 150e5, 100e5, 300.0, flow_m3s=1e-4, **GAS) == 0.0


def test_an_empty_accumulator_is_filled_in_no_time():
    assert filling_deficit(100e5, 150e5, 160e5, REFERENCE_TEMPERATURE_K, flow_m3s=1e-4, **GAS) == 0.0


def test_filling_deficit_is_the_area_between_end_pressure_and_the_rising_pressure():
    """By hand: simulate the filling with a constant pump flow and integrate in time instead of pressure."""
    start, end, flow = 140e5, 190e5, 1.2e-4
    full = float(filling_deficit(start, end, 110e5, REFERENCE_TEMPERATURE_K, flow_m3s=flow, points=4001, **GAS))
    first = gas_volume(start, 110e5, REFERENCE_TEMPERATURE_K, **GAS)
    last = gas_volume(end, 110e5, REFERENCE_TEMPERATURE_K, **GAS)
    times = np.linspace(0.0, float(first - last) / flow, 4001)
    pressure = 110e5 * (SHELL / (first - flow * times)) ** 1.2
    assert full == pytest.approx(np.trapezoid(end - pressure, times), rel=1e-5)


def test_nine_points_are_enough_for_the_pressures_of_a_duty_cycle():
    coarse, fine = (
        filling_deficit(155e5, 190e5, 100e5, 320.0, flow_m3s=1.3e-4, points=points, **GAS) for points in (9, 2001)
    )
    assert coarse == pytest.approx(fine, rel=0.01)


@pytest.mark.parametrize("flow", [0.0, -1e-4, np.nan])
def test_a_pump_that_delivers_nothing_has_no_filling_time(flow):
    assert np.isnan(filling_deficit(140e5, 190e5, 100e5, 300.0, flow_m3s=flow, **GAS))
