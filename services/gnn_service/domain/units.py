"""Units through pint and UCUM: codes, spellings that people use, and conversion of whole arrays.

Codes follow the Unified Code for Units of Measure (https://ucum.org). pint converts, ucumvert reads the codes.
Two traps are closed here: revolutions (`1/min` of a shaft is not 1 rad/min), and angles, which pint counts as
dimensionless and UCUM does not. Importing this module is cheap; the registry is built at the first real conversion.
"""

from functools import cache, lru_cache
from threading import RLock
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnn_service.core.errors import UnitError
from gnn_service.domain.catalogue import catalogue
from gnn_service.domain.unit_codes import ucum_code

if TYPE_CHECKING:
    from pint import Unit

_LOCK = RLock()
LONGEST_CODE = 64
EXAMPLES = "write for example bar, L/min, Cel, mm/s, kW, 1/min or %"
ANGLES = frozenset({"radian", "degree", "arcminute", "arcsecond", "turn", "grade"})
SYMBOLS = {
    "[mass]": "M",
    "[length]": "L",
    "[time]": "T",
    "[current]": "I",
    "[temperature]": "O",
    "[substance]": "N",
    "[luminosity]": "J",
}


def dimension(unit: str) -> str:
    """Dimension of a unit, such as ``L-1.M.T-2``; ``A`` is angle, ``1`` is none. Raises UnitError."""
    return _dimension_of(_parse(ucum_code(unit)))


def check_unit(quantity: str, unit: str) -> None:
    """UnitError unless ``unit`` measures the catalogue's ``quantity``."""
    _resolve(quantity, ucum_code(unit))


def convert(values: ArrayLike, unit: str, to_unit: str | None = None, *, quantity: str | None = None) -> NDArray[Any]:
    """Values of any shape from one unit into another, float64; NaN stays NaN.

    Name the ``quantity`` of the catalogue wherever it is known: it checks that the unit fits, gives ``to_unit`` its
    default (the quantity's own unit), counts revolutions, and tells a temperature difference from a temperature.
    """
    given = np.array(values, dtype=np.float64)
    source = ucum_code(unit)
    target = ucum_code(to_unit) if to_unit is not None else None if quantity is None else _unit_of(quantity)
    if target is None:
        raise UnitError("say which unit to convert to, or which quantity this is")
    if source == target:
        return given
    if quantity is None:
        start, end = _parse(source), _parse(target)
        if _dimension_of(start) != _dimension_of(end):
            raise UnitError(f"{unit!r} cannot be converted to {target!r}: they measure different things")
    else:
        start, end = _resolve(quantity, source), _resolve(quantity, target)
    return np.asarray(_registry().Quantity(given, start).to(end).magnitude, dtype=np.float64)


@lru_cache(maxsize=1024)
def to_si(value: float, unit: str) -> float:
    """One number in SI base units: Pa, m3/s, K, rad, 1/s (of a shaft: revolutions a second). UnitError for no unit."""
    code = ucum_code(unit)
    return float(_registry().Quantity(value, _parse(code)).to_base_units().magnitude)


@lru_cache(maxsize=1024)
def _resolve(quantity: str, code: str) -> "Unit":
    """The pint unit of a code, read as this quantity; UnitError where the code does not measure it."""
    unit, own = _parse(code), _parse(_unit_of(quantity))
    registry = _registry()
    if quantity == "rotational_speed":
        turn = registry.Unit("turn")
        unit, own = (unit if "A" in _dimension_of(unit) else unit * turn), own * turn
    if quantity == "temperature_difference":
        unit, own = (registry.Unit(_delta(str(one))) for one in (unit, own))
    if _dimension_of(unit) != _dimension_of(own):
        raise UnitError(f"{code!r} is no unit of {quantity}; use one such as {_unit_of(quantity)!r}")
    return unit


def _delta(name: str) -> str:
    return f"delta_{name}" if name in ("degree_Celsius", "degree_Fahrenheit") else name


def _unit_of(quantity: str) -> str:
    return catalogue().quantity(quantity).unit


def _registry() -> Any:
    """The one registry; units of two registries cannot be combined, so threads must never build a second one."""
    with _LOCK:
        return _build_registry()


@cache
def _build_registry() -> Any:
    from ucumvert import PintUcumRegistry  # noqa: PLC0415 - half a second that most callers never need

    return PintUcumRegistry()


@lru_cache(maxsize=1024)
def _parse(code: str) -> "Unit":
    """The pint unit of a UCUM code. ucumvert reads ' and '' as minutes and seconds of time; they are of arc."""
    if len(code) > LONGEST_CODE:
        raise UnitError(f"a unit of {len(code)} characters is no UCUM unit; {EXAMPLES}")
    registry = _registry()
    if code in ("'", "''"):
        return cast("Unit", registry.Unit("arcminute" if code == "'" else "arcsecond"))
    if code == "1":
        return cast("Unit", registry.Unit("dimensionless"))
    try:
        with _LOCK:
            parsed = registry.from_ucum(code)
        if parsed.magnitude == 1:
            return cast("Unit", registry.Unit(parsed.units))
    except Exception as error:
        raise UnitError(f"{code!r} is no UCUM unit; {EXAMPLES}") from error
    raise UnitError(f"{code!r} holds a number; {EXAMPLES}")


def _dimension_of(unit: "Unit") -> str:
    one = _registry().Quantity(1, unit)
    powers = {SYMBOLS.get(name, name): float(power) for name, power in one.dimensionality.items()}
    powers["A"] = sum(float(power) for name, power in one.unit_items() if name in ANGLES)
    parts = [f"{name}{'' if power == 1 else format(power, 'g')}" for name, power in sorted(powers.items()) if power]
    return ".".join(parts) or "1"
