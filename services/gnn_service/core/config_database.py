"""The settings of the database: pool, timeouts, connections, repetition, breaker and health checks."""

import os
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from gnn_service.core.config_breaker import BreakerSettings
from gnn_service.core.config_embedded import EmbeddedSettings
from gnn_service.core.config_spool import SpoolSettings
from gnn_service.core.config_types import PostgresUrl, SettingsGroup, UserPath, expand, refuse
from gnn_service.core.config_upkeep import MigrationSettings, UpkeepSettings
from gnn_service.core.errors import ConfigurationError

_NOT_THE_POOL = 10


class ConnectionSettings(SettingsGroup):
    """How a single connection to the database is opened, watched and replaced."""

    timeout_s: float = Field(5.0, gt=0, le=600, description="Seconds to open a connection.")
    release_timeout_s: float = Field(2.0, gt=0, le=60, description="Seconds to clean a connection after its use.")
    lock_timeout_s: float = Field(5.0, gt=0, le=3600, description="Seconds that a statement waits for a lock.")
    idle_in_transaction_s: float = Field(
        60.0, gt=0, le=86_400, description="Seconds that a transaction may do nothing before the server ends it."
    )
    idle_s: float = Field(300.0, gt=0, le=86_400, description="Seconds unused after which one above pool_min closes.")
    lifetime_s: float = Field(
        1800.0, gt=0, le=604_800, description="Seconds until it is replaced, less up to a tenth at random."
    )
    keepalive_s: int = Field(
        8, ge=3, le=3600, description="Seconds of silence on the network after which it counts as dead."
    )
    ping_after_s: float = Field(5.0, ge=0, le=86_400, description="Seconds unused after which it is tried before use.")
    leak_after_s: float = Field(
        60.0, gt=0, le=86_400, description="Seconds in one hand after which the holder's stack is logged."
    )


class RetrySettings(SettingsGroup):
    """How work that may be repeated is repeated: exponential back-off with full jitter, a deadline and a budget."""

    attempts: int = Field(5, ge=1, le=100, description="Attempts in all.")
    backoff_s: float = Field(0.1, gt=0, le=600, description="Longest pause before the second attempt; then doubled.")
    backoff_max_s: float = Field(5.0, gt=0, le=3600, description="Seconds between attempts, at most.")
    budget_ratio: float = Field(0.1, ge=0, le=1, description="Repetitions per call over time, so that none piles up.")
    budget_burst: int = Field(10, ge=0, le=10_000, description="Repetitions that may be saved up.")

    @model_validator(mode="after")
    def _limits_fit(self) -> Self:
        if self.backoff_s > self.backoff_max_s:
            refuse("must not start above its maximum", "backoff_s", "backoff_max_s")
        return self


class DatabaseBreakerSettings(BreakerSettings):
    """When calls to a failing database are paused, and how they start again."""

    minimum_calls: int = Field(5, ge=1, le=100_000, description="Calls in the window before the rate counts.")
    open_s: float = Field(5.0, gt=0, le=3600, description="Seconds that calls are refused before probing.")


class HealthSettings(SettingsGroup):
    """How the database is watched while nobody may be using it."""

    interval_s: float = Field(30.0, gt=0, le=3600, description="Seconds between checks while all is well.")
    timeout_s: float = Field(2.0, gt=0, le=60, description="Seconds for one check.")
    failures_down: int = Field(3, ge=1, le=100, description="Failed checks in a row that mean down.")
    backoff_s: float = Field(0.5, gt=0, le=600, description="Seconds to the check after a failed one; then doubled.")
    backoff_max_s: float = Field(2.0, gt=0, le=3600, description="Seconds between checks of what fails, at most.")
    stuck_after_s: float = Field(
        60.0, gt=0, le=3600, description="Seconds that all connections stay in the same hands until the pool is new."
    )

    @model_validator(mode="after")
    def _limits_fit(self) -> Self:
        if self.backoff_s > self.backoff_max_s:
            refuse("must not start above its maximum", "backoff_s", "backoff_max_s")
        return self


class DatabaseSettings(SettingsGroup):
    """Where readings, diagnoses and alarms are kept."""

    enabled: bool = Field(default=True, description="Keep anything at all; without it only stateless routes answer.")
    url: PostgresUrl | None = Field(None, description="PostgreSQL to use; unset takes the embedded one.")
    owner_url: PostgresUrl | None = Field(
        None, description="The same database for the role that owns and migrates it; unset: `url` does both."
    )
    data_dir: UserPath | None = Field(
        None,
        description="Folder to keep things in; unset: ~/.local/share/gnn-service, for root /var/lib/gnn-service.",
    )
    pool_min: int = Field(2, ge=1, le=1000, description="Connections kept open.")
    pool_max: int = Field(10, ge=1, le=1000, description="Connections, at most.")
    waiters_max: int = Field(256, ge=1, le=65_536, description="Callers that may wait for one; more are refused.")
    acquire_timeout_s: float = Field(5.0, gt=0, le=600, description="Seconds to wait for a free connection.")
    query_timeout_s: float = Field(30.0, gt=0, le=3600, description="Seconds that a query may take, client side.")
    statement_timeout_s: float = Field(29.0, gt=0, le=3600, description="Seconds that a query may take, server side.")
    slow_query_s: float = Field(1.0, gt=0, le=3600, description="Seconds after which a query is logged as slow.")
    shutdown_timeout_s: float = Field(5.0, ge=2, le=60, description="Seconds for open work when the pool closes.")
    connection: ConnectionSettings = Field(
        default_factory=ConnectionSettings, description="A single connection's limits."
    )
    retry: RetrySettings = Field(default_factory=RetrySettings, description="How work is repeated.")
    breaker: DatabaseBreakerSettings = Field(
        default_factory=DatabaseBreakerSettings, description="Pauses calls to a failing database."
    )
    health: HealthSettings = Field(default_factory=HealthSettings, description="How the database is watched.")
    embedded: EmbeddedSettings = Field(
        default_factory=EmbeddedSettings, description="The PostgreSQL that the service brings along."
    )

    @property
    def folder(self) -> Path:
        """Where the embedded PostgreSQL and what waits for it are kept.

        Not below root's home, which the user that PostgreSQL runs as may not enter.

        Raises:
            ConfigurationError: it is unset, and this user has no home.
        """
        if self.data_dir is not None:
            return self.data_dir
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            return Path("/var/lib/gnn-service")
        try:
            return expand(Path("~/.local/share/gnn-service"))
        except ValueError:
            message = "must be set where this user has no home: set GNN_DATABASE__DATA_DIR to a folder"
            raise ConfigurationError(message, where="database.data_dir") from None

    migration: MigrationSettings = Field(
        default_factory=MigrationSettings, description="How the schema is brought up to date."
    )
    upkeep: UpkeepSettings = Field(
        default_factory=UpkeepSettings, description="Roll-ups, and how long things are kept."
    )
    spool: SpoolSettings = Field(default_factory=SpoolSettings, description="What waits on disk for the database.")

    @model_validator(mode="after")
    def _limits_fit(self) -> Self:
        if self.pool_min > self.pool_max:
            refuse("must not keep more connections than the pool may have", "pool_min", "pool_max")
        if self.statement_timeout_s >= self.query_timeout_s:
            refuse("must let the server give up before the client", "statement_timeout_s", "query_timeout_s")
        if self.health.stuck_after_s <= self.query_timeout_s:
            refuse("must give every query its time", "health.stuck_after_s", "query_timeout_s")
        if self.url is None and self.pool_max + _NOT_THE_POOL > self.embedded.connections_max:
            refuse(
                f"must leave {_NOT_THE_POOL} connections of the embedded server to migrations and people",
                "pool_max",
                "embedded.connections_max",
            )
        return self
