"""The settings of readings on their way in: how they gather, how long they wait, what of them stays in memory."""

from typing import Self

from pydantic import Field, model_validator

from gnn_service.core.config_types import SettingsGroup, refuse


class IngestSettings(SettingsGroup):
    """Readings between their arrival and the database, or the spool."""

    commit_wait_ms: float = Field(20.0, ge=0, le=1000, description="Milliseconds that readings gather for one commit.")
    commit_values_max: int = Field(2_000_000, ge=1000, le=10**8, description="Values in one commit, at most.")
    queue_values_max: int = Field(
        8_000_000, ge=1000, le=10**9, description="Values that may wait for it; more are refused."
    )
    store_timeout_s: float = Field(
        5.0, gt=0, le=600, description="Seconds that the database may take before readings go to the spool."
    )
    timeout_s: float = Field(30.0, gt=0, le=600, description="Seconds from arrival to acknowledgement, at most.")
    memory_s: float = Field(300.0, ge=1, le=86_400, description="Seconds of each machine's readings kept in memory.")
    memory_ticks_max: int = Field(16_384, ge=16, le=10**6, description="Ticks of a rate group kept there, at most.")
    memory_machines_max: int = Field(1000, ge=1, le=10**6, description="Machines kept there, at most.")

    @model_validator(mode="after")
    def _limits_fit(self) -> Self:
        if self.commit_values_max > self.queue_values_max:
            refuse("must not commit more than may wait", "commit_values_max", "queue_values_max")
        if self.store_timeout_s >= self.timeout_s:
            refuse("must leave time for the spool", "store_timeout_s", "timeout_s")
        return self
