"""The described asset: components, connections, sensors, circuits, failure modes and duty cycle.

Component ids are lower snake case, sensor ids keep the plant's own tag; units are UCUM codes (https://ucum.org);
pressure is gauge unless the quantity says otherwise. Consistency between the parts and with the catalogue is
`gnn_service.domain.check`'s business; here each part is only well-formed by itself.
"""

from enum import StrEnum
from functools import cached_property
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gnn_service.domain.unit_codes import ucum_code

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.\-]{0,63}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Unit = Annotated[str, AfterValidator(ucum_code), Field(min_length=1, max_length=32)]
Provenance = Literal["looked_up", "measured", "derived", "representative"]


class Part(BaseModel):
    """A frozen piece of a machine description; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SensorRole(StrEnum):
    """What a sensor may be used for.

    Evidence moves with the state of its component; context moves with load, weather or the rest of the machine;
    a command is what a controller asks for; derived is computed from other sensors and may give a state away.
    """

    EVIDENCE = "evidence"
    CONTEXT = "context"
    COMMAND = "command"
    DERIVED = "derived"


class Port(StrEnum):
    """Where on its component a sensor sits."""

    INLET = "inlet"
    OUTLET = "outlet"
    BODY = "body"
    COMMAND = "command"


class Span(Part):
    """A closed interval in the unit of what it belongs to."""

    low: Finite
    high: Finite


class Limits(Part):
    """Warning and alarm limits of a sensor, in the sensor's unit."""

    warn_low: Finite | None = None
    warn_high: Finite | None = None
    alarm_low: Finite | None = None
    alarm_high: Finite | None = None
    deadband: Annotated[float, Field(ge=0)] | None = None
    on_delay_s: Annotated[float, Field(ge=0)] | None = None
    gate: str | None = Field(None, description="when the limits apply, in words")


class Sensor(Part):
    """One measured quantity on a component."""

    id: Identifier
    component: Identifier
    quantity: str = Field(description="a quantity of the catalogue, e.g. pressure")
    unit: Unit = Field(description="UCUM code, e.g. bar, L/min, Cel; degC, rpm, psi and the like are taken as well")
    role: SensorRole = SensorRole.EVIDENCE
    port: Port = Port.BODY
    name: str = ""
    rate_hz: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    range: Span = Field(description="what the sensor can measure, in its unit")
    normal: Span | None = Field(None, description="what healthy running shows, in its unit")
    limits: Limits | None = None
    noise_sd: Annotated[float, Field(ge=0)] | None = Field(None, description="in the sensor's unit")
    resolution: Annotated[float, Field(ge=0)] | None = Field(None, description="in the sensor's unit")
    time_constant_s: Annotated[float, Field(ge=0)] | None = None


class Parameter(Part):
    """A property of a component with its unit and where the number comes from."""

    value: Finite
    unit: Unit = "1"
    provenance: Provenance = "representative"
    source: str = ""


class Component(Part):
    """A node of the machine's graph."""

    id: Identifier
    type: str = Field(description="a component type of the catalogue, e.g. pump")
    name: str = ""
    function: str = Field("", description="what the component does in this machine")
    criticality: Annotated[float, Field(ge=0, le=1)] = 1.0
    parameters: dict[str, Parameter] = Field(default_factory=dict)


class Connection(Part):
    """A directed, typed edge. A line that flows both ways is two connections."""

    source: Identifier
    target: Identifier
    type: str = Field(description="one of the catalogue's 13 connection types, e.g. hyd_pressure")
    attributes: dict[str, Parameter] = Field(default_factory=dict)


class Circuit(Part):
    """A named set of components that work together."""

    id: Identifier
    name: str = ""
    components: tuple[Identifier, ...]


class Level(Part):
    """A named step of severity, as a test rig or a service manual defines it."""

    name: str
    severity: Annotated[float, Field(ge=0, le=1)]


class FailureMode(Part):
    """A way in which one component of this machine fails, mapped onto a mode of the catalogue."""

    id: Identifier
    component: Identifier
    mode: str = Field(description="a failure mode of the catalogue for the component's type")
    name: str = ""
    levels: tuple[Level, ...] = Field(
        (), description="severity rising from 0 (no fault); empty where severity is continuous"
    )

    @model_validator(mode="after")
    def _levels_rise_from_none(self) -> "FailureMode":
        steps = [level.severity for level in self.levels]
        if steps and (steps[0] != 0 or sorted(set(steps)) != steps or len(steps) < 2):
            raise ValueError("levels must rise strictly and start at severity 0")
        return self


class Phase(Part):
    """A stretch of the duty cycle, in seconds from the cycle's start.

    A plateau holds the load constant; a step is a change of load between two plateaus; a switch is the moment a
    valve is told to change over; start is where the cycle begins after a pause.
    """

    id: Identifier
    kind: Literal["plateau", "step", "switch", "start", "free"] = "free"
    start_s: Annotated[float, Field(ge=0)]
    end_s: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _takes_time(self) -> "Phase":
        if self.end_s <= self.start_s:
            raise ValueError("a phase must end after it starts")
        return self


class DutyCycle(Part):
    """What the machine repeats."""

    period_s: Annotated[float, Field(gt=0)]
    phases: tuple[Phase, ...] = ()

    def of_kind(self, kind: str) -> tuple[Phase, ...]:
        """Phases of one kind in order of time."""
        return tuple(sorted((p for p in self.phases if p.kind == kind), key=lambda p: p.start_s))


class Machine(Part):
    """The description of one machine; what `machine.json` holds."""

    format: Literal["gnn-service/machine/1"] = "gnn-service/machine/1"
    id: Identifier
    name: str = ""
    description: str = ""
    source: str = ""
    components: tuple[Component, ...]
    connections: tuple[Connection, ...] = ()
    sensors: tuple[Sensor, ...] = ()
    circuits: tuple[Circuit, ...] = ()
    failure_modes: tuple[FailureMode, ...] = ()
    duty_cycle: DutyCycle | None = None

    @cached_property
    def sensor_ids(self) -> tuple[str, ...]:
        """Sensor ids in the order of the description."""
        return tuple(s.id for s in self.sensors)

    @cached_property
    def component_ids(self) -> tuple[str, ...]:
        """Component ids in the order of the description."""
        return tuple(c.id for c in self.components)

    def sensors_on(self, component: str) -> tuple[Sensor, ...]:
        """Sensors that sit on a component."""
        return tuple(s for s in self.sensors if s.component == component)

    def modes_of(self, component: str) -> tuple[FailureMode, ...]:
        """Failure modes declared for a component."""
        return tuple(m for m in self.failure_modes if m.component == component)
