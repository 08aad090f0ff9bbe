"""Stored machines on the wire."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from gnn_service.db.diagnoses import Condition
from gnn_service.db.machines import Line
from gnn_service.db.repository import instant
from gnn_service.domain.check import Finding
from gnn_service.domain.diagnosis import State
from gnn_service.domain.machine import Machine
from gnn_service.model.baseline import Baseline


class MachineSummary(BaseModel):
    """A stored machine in a list, with the newest word on it."""

    id: str
    name: str
    revision: int = Field(description="counts the descriptions that it has had")
    fingerprint: str = Field(description="SHA-256 of the description; the `ETag` of the machine")
    sensors: int
    components: int
    updated_at: datetime
    newest_reading: datetime | None = Field(None, description="time of its newest reading")
    state: State = Field(State.UNKNOWN, description="of its newest diagnosis")
    health: float | None = Field(None, description="of its newest diagnosis")
    diagnosed_until: datetime | None = Field(None, description="end of the window of its newest diagnosis")

    @classmethod
    def of(cls, line: Line, said: Condition | None, newest_us: int | None) -> "MachineSummary":
        """From what the store knows of it."""
        return cls(
            id=line.external_id,
            name=line.name,
            revision=line.revision,
            fingerprint=line.fingerprint,
            sensors=line.sensors,
            components=line.components,
            updated_at=line.updated_at,
            newest_reading=None if newest_us is None else instant(newest_us),
            state=State.UNKNOWN if said is None else said.state,
            health=None if said is None else said.health,
            diagnosed_until=None if said is None else said.at,
        )


class MachinePage(BaseModel):
    """Machines in the order of their ids."""

    block: Literal["health_assessment"] = Field("health_assessment", description="ISO 13374 block of the states")
    machines: list[MachineSummary]
    next: str | None = Field(None, description="give it as `after` for the machines that follow; null at the end")


class MachineAnswer(BaseModel):
    """A stored machine."""

    revision: int
    fingerprint: str
    created_at: datetime
    updated_at: datetime
    machine: Machine


class SensorMapping(BaseModel):
    """How a sensor of a description was understood."""

    sensor: str
    component: str
    quantity: str
    unit: str = Field(description="UCUM code that its readings are kept in")
    rate_hz: float


class MachinePut(BaseModel):
    """What became of a description."""

    machine: str
    outcome: Literal["created", "changed", "unchanged"] | None = Field(
        description="what was, or would be, changed; null where the database that knows is away"
    )
    dry_run: bool = Field(description="whether nothing was stored")
    revision: int | None = Field(None, description="null where nothing was stored")
    fingerprint: str
    findings: list[Finding] = Field(description="what looks wrong in the description, though it can be used")
    sensors: list[SensorMapping]


class BaselineAnswer(BaseModel):
    """The baseline that a machine is diagnosed with."""

    model_config = ConfigDict(protected_namespaces=())

    block: Literal["state_detection"] = Field("state_detection", description="ISO 13374 block")
    machine: str
    bundle: str = Field(description="version of the model bundle that it is for")
    fitted_at: datetime
    baseline: Baseline
