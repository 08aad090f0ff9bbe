"""The settings of a circuit breaker, which pauses calls to something that keeps failing."""

from typing import Self

from pydantic import Field, model_validator

from gnn_service.core.config_types import SettingsGroup, refuse


class BreakerSettings(SettingsGroup):
    """When calls to a failing model are paused, and how they start again."""

    failure_rate: float = Field(0.5, gt=0, le=1, description="Share of failed calls that opens the breaker.")
    window_s: float = Field(30.0, ge=0.1, le=3600, description="Seconds over which calls are counted.")
    minimum_calls: int = Field(10, ge=1, le=100_000, description="Calls in the window before the rate counts.")
    open_s: float = Field(10.0, gt=0, le=3600, description="Seconds that calls are refused before probing.")
    half_open_probes: int = Field(3, ge=1, le=1000, description="Probes that decide whether the breaker closes.")
    half_open_concurrent: int = Field(1, ge=1, le=1000, description="Probes in flight at once, at most.")

    @model_validator(mode="after")
    def _probes_fit(self) -> Self:
        if self.half_open_concurrent > self.half_open_probes:
            refuse("must not have more concurrent probes than probes", "half_open_concurrent", "half_open_probes")
        return self
