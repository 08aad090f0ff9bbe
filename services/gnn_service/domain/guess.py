"""What a column of somebody's table may be: quantity, unit and component, guessed from its name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gnn_service.core.errors import UnitError
from gnn_service.domain.catalogue import Quantity, catalogue
from gnn_service.domain.machine import Sensor, SensorRole, Span
from gnn_service.domain.unit_codes import SPELLINGS, ucum_code
from gnn_service.domain.units import check_unit, convert

INDEX_WORDS = frozenset({"", "ts", "time", "timestamp", "date", "datetime", "zeit", "index", "cycle", "phase"})
BRACKETS = re.compile(r"^(?P<name>.*?)[\s_]*[\[(](?P<unit>[^\[\]()]*)[\])]\s*$")
SUFFIXES = frozenset({"bar", "kPa", "MPa", "Pa", "kW", "mm", "kN", "Hz", "Cel", "mbar"})
NO_COMPONENT = ("machine", "hydraulic_unit")


@dataclass(frozen=True, slots=True)
class ColumnGuess:
    """One column: the sensor it may be, None where it was not recognised, and why."""

    column: str
    sensor: Sensor | None
    reason: str
    component: str = ""
    component_type: str = ""
    is_index: bool = False


def guess_columns(columns: Sequence[str]) -> list[ColumnGuess]:
    """Guess every column; sensor ids are made unique and fit to be ids."""
    taken: set[str] = set()
    guesses = []
    for column in columns:
        guess = _guess(column.strip(), taken)
        if guess.sensor:
            taken.add(guess.sensor.id)
        guesses.append(guess)
    return guesses


def split_unit(column: str) -> tuple[str, str | None]:
    """Name and unit of ``P1 [bar]``, ``Oil temp (degC)`` or ``p_out_bar``; None where no unit is named."""
    bracketed = BRACKETS.match(column)
    if bracketed:
        return bracketed["name"].strip(), bracketed["unit"].strip()
    name, _, last = column.rpartition("_")
    if name and (last in SUFFIXES or (len(last) > 2 and last in SPELLINGS)):
        return name, last
    return column, None


def _guess(column: str, taken: set[str]) -> ColumnGuess:
    name, written = split_unit(column)
    words = _words(name)
    if name.lower() == "operating_state" or set(re.split(r"[^a-z0-9]+", name.lower())) <= INDEX_WORDS:
        return ColumnGuess(column, None, "time or index", is_index=True)
    unit = None if written is None else _meant_unit(written, words)
    if unit is None:
        found, reason = _by_words(words), "quantity and unit are a guess from the name"
    else:
        found, reason = _by_unit(unit, words), "quantity is a guess from unit and name"
    if found is None:
        why = "its name says no quantity" if unit is None else f"no quantity is measured in {written!r}"
        return ColumnGuess(column, None, why)
    component, component_type = _component_of(name, words)
    identifier = _identifier(name, taken)
    sensor = Sensor(
        id=identifier,
        component=component,
        quantity=found.id,
        unit=unit or found.unit,
        role=SensorRole(found.role),
        name=column if column != identifier else "",
        range=_range_in(found, unit or found.unit),
    )
    return ColumnGuess(column, sensor, reason, component, component_type)


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word for word in (re.sub(r"\d+$", "", part).lower() for part in re.split(r"[^A-Za-z0-9]+", spaced)) if word]


def _meant_unit(written: str, words: list[str]) -> str | None:
    """The UCUM code of a unit in a header, where C is no coulomb and the g of a vibration is no gram."""
    short = {"C": "Cel", "F": "[degF]", "RPM": "1/min"}.get(written, written)
    if short == "g" and any(word.startswith(("vib", "acc")) for word in words):
        short = "[g]"
    return ucum_code(short)


def _by_unit(unit: str, words: list[str]) -> Quantity | None:
    fitting = [quantity for quantity in catalogue().quantities if _fits(quantity.id, unit)]
    if not fitting:
        return None
    best = max(fitting, key=lambda quantity: _score(quantity, words))
    if _score(best, words):
        return best
    same = [quantity for quantity in fitting if quantity.unit == unit]
    plain = {"%": "load", "1": "count"}.get(unit)
    return catalogue().quantity(plain) if plain else (same or fitting)[0]


def _by_words(words: list[str]) -> Quantity | None:
    best = max(catalogue().quantities, key=lambda quantity: _score(quantity, words))
    return best if _score(best, words) else None


def _score(quantity: Quantity, words: list[str]) -> int:
    """Length of the longest of the quantity's words in the name; 0 where there is none."""
    joined = f"_{'_'.join(words)}_"
    return max((len(word) for word in quantity.words if f"_{word}_" in joined), default=0)


def _fits(quantity: str, unit: str) -> bool:
    try:
        check_unit(quantity, unit)
    except UnitError:
        return False
    return True


def _component_of(name: str, words: list[str]) -> tuple[str, str]:
    """Id and type: of ``pump_1.p_out`` the part before the dot, else the longest component word in the name."""
    prefix, dot, _ = name.rpartition(".")
    joined = f"_{'_'.join(_words(prefix) if dot else words)}_"
    known = [
        (len(word), kind.id) for kind in catalogue().component_types for word in kind.words if f"_{word}_" in joined
    ]
    kind = max(known)[1] if known else NO_COMPONENT[1]
    if dot:
        return _clean(prefix), kind
    return (kind, kind) if known else NO_COMPONENT


def _range_in(quantity: Quantity, unit: str) -> Span:
    low, high = convert(
        [quantity.sensor.low, quantity.sensor.high], unit=quantity.unit, to_unit=unit, quantity=quantity.id
    )
    return Span(low=float(f"{low:.6g}"), high=float(f"{high:.6g}"))


def _identifier(name: str, taken: set[str]) -> str:
    base = _clean(name)
    identifier, number = base, 2
    while identifier in taken:
        identifier, number = f"{base[:60]}_{number}", number + 1
    return identifier


def _clean(name: str) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9_.\-]+", "_", name).strip("_.-") or "sensor"
    return (cleaned if cleaned[0].isalpha() else f"s_{cleaned}")[:64]
