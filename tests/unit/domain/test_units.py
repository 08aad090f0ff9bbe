from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnn_service.core.errors import InvalidMachineError, UnitError
from gnn_service.domain import units
from gnn_service.domain.catalogue import catalogue
from gnn_service.domain.unit_codes import SPELLINGS, ucum_code
from gnn_service.domain.units import check_unit, convert, dimension


@pytest.mark.parametrize(
    ("value", "unit", "quantity", "expected"),
    [
        (1.0, "[psi]", "pressure", 0.0689476),
        (1.0, "MPa", "pressure", 10.0),
        (212.0, "degF", "temperature", 100.0),
        (300.0, "K", "temperature", 26.85),
        (18.0, "[degF]", "temperature_difference", 10.0),
        (5.0, "Cel", "temperature_difference", 5.0),
        (1.0, "m3/h", "flow", 16.6667),
        (1.0, "Hz", "rotational_speed", 60.0),
        (1.0, "rad/s", "rotational_speed", 9.549297),
        (360.0, "deg/s", "rotational_speed", 60.0),
        (3.0, "kNm", "torque", 3000.0),
        (9.80665, "m/s2", "vibration_acceleration", 1.0),
        (1.0, "deg", "angular_backlash", 60.0),
        (36.0, "arcsec", "angular_error", 0.01),
        (1.0, "rad", "angle", 57.29578),
    ],
)
def test_a_value_comes_out_in_the_quantitys_own_unit(value, unit, quantity, expected):
    assert convert(value, unit, quantity=quantity) == pytest.approx(expected, rel=1e-5)


def test_arrays_keep_their_shape_and_their_gaps():
    given_values = np.array([[0.0, np.nan], [100.0, -40.0]])
    converted = convert(given_values, "degC", "[degF]")
    assert converted.dtype == np.float64
    np.testing.assert_allclose(converted, [[32.0, np.nan], [212.0, -40.0]])


def test_conversion_into_the_same_unit_never_hands_back_the_callers_array():
    values = np.array([1.0, 2.0])
    converted = convert(values, "bar", "bar")
    converted[0] = 9.0
    assert values[0] == 1.0


@given(st.floats(-200, 2000), st.sampled_from(["Cel", "K", "[degF]"]), st.sampled_from(["Cel", "K", "[degF]"]))
def test_there_and_back_is_the_same_temperature(value, one, other):
    assert convert(convert(value, one, other), other, one) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize(
    ("quantity", "unit"),
    [("pressure", "Cel"), ("flow", "bar"), ("angle", "%"), ("efficiency", "deg"), ("mass", "kN"), ("angle", "1")],
)
def test_a_unit_of_something_else_is_refused_with_one_that_fits(quantity, unit):
    with pytest.raises(UnitError, match=f"no unit of {quantity}; use one such as") as refused:
        check_unit(quantity, unit)
    assert catalogue().quantity(quantity).unit in str(refused.value)


@pytest.mark.parametrize("unit", ["foo", "bar bar", "/", "L//min", "10.bar", "Bar", "bar." * 1000, "(" * 60])
def test_what_is_no_ucum_code_is_refused(unit):
    with pytest.raises(UnitError, match="write for example bar"):
        check_unit("pressure", unit)


def test_units_of_different_things_are_not_converted():
    with pytest.raises(UnitError, match="different things"):
        convert(1.0, "bar", "kW")


def test_conversion_needs_to_know_where_to():
    with pytest.raises(UnitError, match="which unit to convert to"):
        convert(1.0, "bar")


def test_an_unknown_quantity_is_named():
    with pytest.raises(InvalidMachineError, match="unknown quantity 'presure'"):
        convert(1.0, "bar", quantity="presure")


def test_every_spelling_means_a_code_that_can_be_read():
    for spelling, code in SPELLINGS.items():
        assert dimension(code), spelling
        assert ucum_code(f" {spelling} ") == code
        assert ucum_code(code) == code


@pytest.mark.parametrize(
    ("unit", "symbols"), [("bar", "L-1.M.T-2"), ("deg/s", "A.T-1"), ("%", "1"), ("V", "I-1.L2.M.T-3"), ("Cel", "O")]
)
def test_dimensions_are_written_in_base_symbols(unit, symbols):
    assert dimension(unit) == symbols


def test_threads_that_convert_first_share_one_registry():
    for cached in (units._build_registry, units._parse, units._resolve):
        cached.cache_clear()
    ready = Barrier(8)

    def first(number):
        ready.wait(timeout=20)
        return float(convert(number, "kPa", quantity="pressure")), float(convert(number, "MPa", "bar"))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(first, range(8))) == [pytest.approx((n / 100, n * 10)) for n in range(8)]
    assert units._build_registry.cache_info().currsize == 1
    assert units._build_registry.cache_info().misses == 1
