"""What the service says of itself."""

from typing import Any, Literal

from pydantic import BaseModel, Field


class Status(BaseModel):
    """Which service this is."""

    service: Literal["gnn-service"] = "gnn-service"
    version: str
    uptime_s: float = Field(description="seconds since it started")
    bundle: str = Field(description="version of the model bundle that answers")
    previous_bundle: str | None = Field(None, description="version that a roll-back goes back to, where there is one")
    shadow_bundle: str | None = Field(None, description="version that looks on, where one does")
    machines: list[str] = Field(description="ids that can be used in place of a machine description")
    companion_url: str | None = Field(None, description="control of the demo that feeds this service, where one does")


class Live(BaseModel):
    """The event loop turns."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """The engine has just answered its canary rightly."""

    status: Literal["ready"] = "ready"


class Health(BaseModel):
    """Details for people."""

    status: Literal["ready", "not_ready"]
    reason: str = Field("", description="why it is not ready")
    version: str
    bundle: str
    uptime_s: float
    engine: dict[str, Any] = Field(description="state of the engine, its breaker and its worker")
    runtime: dict[str, Any] | None = Field(
        None, description="what the model runs on, why, and what was measured of each runtime, microseconds a window"
    )
