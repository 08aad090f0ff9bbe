"""The answer: per component health, faults and evidence; for the machine the root cause and the data quality."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]


class Answer(BaseModel):
    """A frozen piece of a diagnosis."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class State(StrEnum):
    """Health in a word: good >= .8, watch >= .6, warning >= .3, critical, unknown."""

    GOOD = "good"
    WATCH = "watch"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"

    @classmethod
    def of(cls, health: float | None) -> "State":
        """The word for a health of 0..1; None is unknown."""
        if health is None:
            return cls.UNKNOWN
        if health >= 0.8:
            return cls.GOOD
        if health >= 0.6:
            return cls.WATCH
        return cls.WARNING if health >= 0.3 else cls.CRITICAL


class LevelProbability(Answer):
    """How likely one named level of a failure mode is."""

    level: str
    severity: Fraction
    probability: Fraction


class FaultFinding(Answer):
    """One failure mode of a component: how likely it is present, and how far it has gone."""

    id: str = Field(description="failure mode of the machine")
    mode: str = Field(description="failure mode of the catalogue")
    name: str
    iso14224: str
    probability: Fraction
    severity: Fraction
    severity_low: Fraction = Field(description="5 % quantile")
    severity_high: Fraction = Field(description="95 % quantile")
    level: str | None = Field(None, description="most likely named level, where the mode has levels")
    levels: tuple[LevelProbability, ...] = ()
    action: str = ""
    urgency: str = ""


class VirtualReading(Answer):
    """A physics estimate that counts as evidence, with its 90 % interval."""

    id: str
    name: str
    unit: str
    value: float | None
    low: float | None
    high: float | None
    valid: bool
    reason: str = ""


class ComponentDiagnosis(Answer):
    """What is known of one component."""

    component: str
    type: str
    health: Fraction | None
    health_low: Fraction | None = None
    health_high: Fraction | None = None
    state: State
    reason: str = Field("", description="why the state is unknown")
    anomaly: Fraction | None = None
    faults: tuple[FaultFinding, ...] = ()
    evidence: tuple[VirtualReading, ...] = ()
    degradation_rate: float | None = Field(None, description="health lost per hour; null until prognosis exists")
    remaining_useful_life_h: tuple[float, float, float] | None = Field(None, description="P10, P50, P90 in hours")


class RootCause(Answer):
    """A component, or `external`, and how likely it is where the trouble starts."""

    component: str
    probability: Fraction


class DataQuality(Answer):
    """How much of the window could be used."""

    coverage: Fraction = Field(description="share of expected samples present on evidence sensors")
    samples: int
    missing_sensors: tuple[str, ...] = ()
    issues: tuple[str, ...] = ()


class Diagnosis(Answer):
    """The diagnosis of one window of one machine."""

    block: Literal["health_assessment"] = Field("health_assessment", description="ISO 13374 block")
    machine: str
    start: datetime
    end: datetime
    cycle: int | None = None
    health: Fraction | None
    state: State
    reason: str = ""
    anomaly: Fraction | None = None
    components: tuple[ComponentDiagnosis, ...]
    root_causes: tuple[RootCause, ...] = ()
    data_quality: DataQuality
    commissioned: bool = Field(description="whether a baseline of this machine was used")
    in_training_regime: bool | None = Field(None, description="whether the operating regime was seen in training")
    recalibrate: bool = False
    bundle: str = Field(description="version of the model bundle")


class MachineDiagnosis(Diagnosis):
    """The diagnosis of the newest window of a stored machine."""

    persisted: bool = Field(description="whether it is in the database already")
