"""Readings on the wire."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from gnn_service.api.schemas.window import WindowBody
from gnn_service.domain.machine import Identifier

EXAMPLE_READINGS: dict[str, JsonValue] = {
    "start": "2026-01-31T08:00:00Z",
    "rate_hz": 1.0,
    "readings": {"PS1": [191.4, 182.4, None, 151.2], "PS2": [109.4, 110.0, 109.9, 110.1]},
    "units": {"PS2": "bar"},
}


class ReadingsBody(WindowBody):
    """Readings of one machine on one time grid.

    The grid is either `start` and `rate_hz`, or `times`: ISO times, or seconds after `start`. `cycle`, `phase_s` and
    `operating_state` say what the machine does from the first sample on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [EXAMPLE_READINGS]})


class Refusal(BaseModel):
    """Readings that were not kept, and why."""

    sensor: str | None = Field(None, description="null: of all sensors")
    reason: str
    readings: int = Field(description="how many values")
    first: datetime = Field(description="time of the first of them")
    value: float | None = Field(None, description="the first of them, in the sensor's unit")


class SensorSent(BaseModel):
    """What was sent of one sensor."""

    sensor: str
    unit: str = Field(description="unit in which it was read")
    kept_in: str = Field(description="unit of the machine's description, in which it is kept")
    readings: int = Field(description="values that are not missing")


class FrameCounts(BaseModel):
    """What became of frames; a frame holds what sensors of one rate showed at one time."""

    stored: int = Field(description="new")
    merged: int = Field(description="completed or changed a frame that was there")
    unchanged: int = Field(description="said nothing new")


class ReadingsTaken(BaseModel):
    """What became of readings."""

    block: Literal["data_acquisition"] = Field("data_acquisition", description="ISO 13374 block")
    machine: str
    kept: Literal["stored", "spooled", "nothing"] = Field(
        description="`spooled`: on disk until the database is back; `nothing`: with `dry_run`"
    )
    dry_run: bool
    readings: int = Field(description="values that were, or would be, kept")
    frames: FrameCounts | None = Field(None, description="null where the database has not seen them yet")
    start: datetime | None = Field(None, description="time of the first tick that is kept")
    end: datetime | None = Field(None, description="time of the last tick that is kept")
    sensors: list[SensorSent]
    refused: list[Refusal] = Field(description="what was not kept, and why; empty where all was")


class ReadingsPart(BaseModel):
    """A stretch of readings; its columns can be sent again as they are."""

    times: list[datetime]
    readings: dict[Identifier, list[float | None]]


class ReadingsAnswer(BaseModel):
    """Readings as they are stored."""

    block: Literal["data_acquisition"] = Field("data_acquisition", description="ISO 13374 block")
    machine: str
    sensors: list[str]
    units: dict[str, str]
    parts: list[ReadingsPart] = Field(description="rising in time; a long answer has several")


class Buckets(BaseModel):
    """Readings of one sensor in buckets; null where a bucket is empty."""

    count: list[int]
    low: list[float | None]
    mean: list[float | None]
    high: list[float | None]


class HistoryAnswer(BaseModel):
    """Readings in buckets of time, for plots."""

    block: Literal["data_manipulation"] = Field("data_manipulation", description="ISO 13374 block")
    machine: str
    every_s: float = Field(description="length of a bucket")
    source: Literal["raw", "1m", "1h"] = Field(description="made of readings, or of their roll-up of that length")
    units: dict[str, str]
    times: list[datetime] = Field(description="begins of the buckets in which there is something")
    buckets: dict[Annotated[str, Field(description="sensor id")], Buckets]
