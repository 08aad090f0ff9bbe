"""A window as callers send it."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Strict,
    Tag,
)

from gnn_service.api.problems import UnionTag
from gnn_service.domain.machine import Identifier

_SECONDS, _INSTANTS = UnionTag.of("seconds"), UnionTag.of("instants")


def _text_only(value: Any) -> Any:
    """Numbers are no instants here: nobody can tell seconds from milliseconds."""
    if isinstance(value, datetime) or (isinstance(value, str) and not value.strip().lstrip("+-").isdecimal()):
        return value
    raise ValueError("must be an ISO 8601 time with its zone, such as 2026-01-31T08:00:00Z")


def _branch(value: Any) -> str:
    return _INSTANTS if isinstance(value, list) and value and isinstance(value[0], str) else _SECONDS


Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Instant = Annotated[AwareDatetime, BeforeValidator(_text_only), Field(json_schema_extra={"type": "string"})]
Times = Annotated[
    Annotated[list[Number], Field(max_length=1_000_000, fail_fast=True), Tag(_SECONDS)]
    | Annotated[list[Instant], Field(max_length=1_000_000, fail_fast=True), Tag(_INSTANTS)],
    Discriminator(_branch),
]
EXAMPLE_WINDOW: dict[str, JsonValue] = {
    "start": "2026-01-31T08:00:00Z",
    "rate_hz": 1.0,
    "readings": {"PS1": [191.4, 182.4, None, 151.2], "PS2": [109.4, 110.0, 109.9, 110.1]},
    "units": {"PS2": "bar"},
    "cycle": 1202,
    "phase_s": 0.0,
}


class WindowBody(BaseModel):
    """Readings of one machine on one time grid.

    The grid is either `start` and `rate_hz`, or `times`: ISO times, or seconds after `start`
    (after 1970-01-01 UTC where there is no `start`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [EXAMPLE_WINDOW]})

    start: Instant | None = Field(None, description="time of the first sample, or the zero of `times` in seconds")
    rate_hz: Annotated[Number, Field(ge=1e-6, le=1e6)] | None = Field(None, description="samples a second")
    times: Times | None = Field(None, description="time of each sample, strictly rising")
    readings: dict[Identifier, Annotated[list[Number | None], Field(fail_fast=True)]] = Field(
        description="samples by sensor id, all of one length; null is a missing sample", min_length=1, max_length=4096
    )
    units: dict[Identifier, Annotated[str, Field(max_length=40)]] = Field(
        default_factory=dict,
        description="UCUM unit codes of the samples, where it is not the unit that the machine's description gives",
    )
    cycle: Annotated[int, Strict()] | None = Field(None, description="number of the duty cycle, handed back")
    phase_s: Annotated[Number, Field(ge=0, le=1e7)] | None = Field(
        None, description="seconds from the start of the duty cycle to the first sample; null where unknown"
    )
    operating_state: Annotated[str, Field(max_length=64)] | None = Field(None, description="as the machine reports it")
