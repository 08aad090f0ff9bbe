"""Bodies and answers of the stateless diagnosis."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from gnn_service.api.problems import UnionTag
from gnn_service.api.schemas.window import EXAMPLE_WINDOW, WindowBody
from gnn_service.domain.machine import Identifier, Machine
from gnn_service.model.baseline import Baseline

_ID, _DESCRIPTION = UnionTag.of("id"), UnionTag.of("description")
EXAMPLE_MACHINE = "uci-hydraulic-rig"


def _branch(value: Any) -> str | None:
    if isinstance(value, str):
        return _ID
    return _DESCRIPTION if isinstance(value, Mapping | Machine) else None


MachineRef = Annotated[
    Annotated[Identifier, Tag(_ID)] | Annotated[Machine, Tag(_DESCRIPTION)],
    Discriminator(
        _branch,
        custom_error_type="machine_ref",
        custom_error_message="Input should be the id of a machine or its description",
    ),
    Field(description="id of a machine known here, or a whole machine description"),
]


class DiagnoseBody(BaseModel):
    """One window to diagnose."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"machine": EXAMPLE_MACHINE, "window": EXAMPLE_WINDOW}]},
    )

    machine: MachineRef
    window: WindowBody
    baseline: Baseline | None = Field(None, description="what `POST /v1/commission` answered for this machine")


class CommissionBody(BaseModel):
    """Windows of healthy running, from which a machine's own baseline is learnt."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"machine": EXAMPLE_MACHINE, "windows": [EXAMPLE_WINDOW]}]},
    )

    machine: MachineRef
    windows: list[WindowBody] = Field(
        min_length=1, fail_fast=True, description="in order of time; ten duty cycles are usual"
    )


class Commissioning(BaseModel):
    """The baseline of one machine; send it along with each window to diagnose."""

    block: Literal["state_detection"] = Field("state_detection", description="ISO 13374 block")
    machine: str
    baseline: Baseline
