"""What the service says of itself."""

from typing import Any, Literal

from pydantic import BaseModel, Field


class PoolStatus(BaseModel):
    """Connections to the database."""

    size: int = Field(description="open ones")
    idle: int
    maximum: int
    waiters: int = Field(description="callers that wait for one")


class DatabaseStatus(BaseModel):
    """The database as the service sees it."""

    state: Literal["healthy", "degraded", "down"]
    kind: Literal["plain", "timescale_apache", "timescale_full"] | None = Field(
        None, description="what the server can do; null before the first connection"
    )
    version: str | None = Field(None, description="of PostgreSQL")
    timescale: str | None = Field(None, description="version of TimescaleDB, where the server has it")
    pool: PoolStatus
    breaker: Literal["closed", "open", "half_open"]
    last_error: str | None = Field(None, description="what the last failed check found; null while healthy")


class SpoolStatus(BaseModel):
    """What waits on disk for the database."""

    records: int
    bytes: int
    bytes_max: int
    oldest_s: float = Field(description="seconds that the oldest has waited")
    draining: bool = Field(description="whether the database takes what waits")
    full: str | None = Field(None, description="why it takes nothing more; null where it does")


class EmbeddedStatus(BaseModel):
    """The PostgreSQL that the service brings along."""

    running: bool
    restarts: int = Field(description="how often it died and was started again")


class StorageStatus(BaseModel):
    """What keeps readings and diagnoses."""

    status: Literal["ready", "degraded", "full"] = Field(
        description="`degraded`: the database is away and the spool accepts; `full`: neither takes anything"
    )
    database: DatabaseStatus
    spool: SpoolStatus
    embedded: EmbeddedStatus | None = Field(None, description="null where another server is used")


class Status(BaseModel):
    """Which service this is."""

    service: Literal["gnn-service"] = "gnn-service"
    version: str
    uptime_s: float = Field(description="seconds since it started")
    bundle: str = Field(description="version of the model bundle that answers")
    previous_bundle: str | None = Field(None, description="version that a roll-back goes back to, where there is one")
    shadow_bundle: str | None = Field(None, description="version that looks on, where one does")
    machines: list[str] = Field(description="ids that can be used in place of a machine description")
    storage: StorageStatus | None = Field(None, description="what keeps readings; null where nothing is kept")
    companion_url: str | None = Field(None, description="control of the demo that feeds this service, where one does")


class Live(BaseModel):
    """The event loop turns."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """The engine has just answered its canary rightly."""

    status: Literal["ready", "degraded"] = Field(
        "ready", description="`degraded`: the database is away; diagnoses go on, and readings wait on disk"
    )


class Health(BaseModel):
    """Details for people."""

    status: Literal["ready", "degraded", "not_ready"]
    reason: str = Field("", description="why it is not ready, or degraded")
    version: str
    bundle: str
    uptime_s: float
    engine: dict[str, Any] = Field(description="state of the engine, its breaker and its worker")
    runtime: dict[str, Any] | None = Field(
        None, description="what the model runs on, why, and what was measured of each runtime, microseconds a window"
    )
    storage: StorageStatus | None = Field(None, description="what keeps readings; null where nothing is kept")
