"""The settings of the schema's migration and of the upkeep of what is stored."""

from typing import Self

from pydantic import Field, model_validator

from gnn_service.core.config_types import SettingsGroup, refuse


class MigrationSettings(SettingsGroup):
    """How the schema is brought up to date."""

    on_start: bool = Field(default=True, description="Bring the schema up to date when the service starts.")
    wait_s: float = Field(120.0, gt=0, le=3600, description="Seconds for another process's migration to end.")
    lock_timeout_s: float = Field(5.0, gt=0, le=600, description="Seconds that a statement waits for a table.")
    statement_timeout_s: float = Field(600.0, gt=0, le=86_400, description="Seconds that a statement may take.")
    attempts: int = Field(5, ge=1, le=100, description="Attempts where a table is in use by others.")


class UpkeepSettings(SettingsGroup):
    """Roll-ups by minute and hour, and how long things are kept."""

    interval_s: float = Field(60.0, gt=0, le=86_400, description="Seconds from round to round.")
    batch_s: float = Field(1.0, gt=0, le=20, description="Seconds that a single transaction should take, about.")
    round_s: float = Field(30.0, gt=0, le=3600, description="Seconds of work in a round, about; the rest waits.")
    frames_days: int | None = Field(
        365, ge=1, le=36_500, description="Days that frames and single readings are kept; null: for ever."
    )
    minutes_days: int | None = Field(
        730, ge=1, le=36_500, description="Days that roll-ups by minute are kept; null: for ever."
    )
    hours_days: int | None = Field(
        3650, ge=1, le=36_500, description="Days that roll-ups by hour are kept; null: for ever."
    )
    diagnoses_days: int | None = Field(
        1825, ge=1, le=36_500, description="Days that diagnoses are kept; null: for ever."
    )
    compress_days: int = Field(7, ge=1, le=36_500, description="Days after which TimescaleDB compresses frames.")

    @model_validator(mode="after")
    def _limits_fit(self) -> Self:
        for finer, coarser in (("frames_days", "minutes_days"), ("minutes_days", "hours_days")):
            shorter, longer = getattr(self, finer), getattr(self, coarser)
            if longer is not None and (shorter is None or shorter > longer):
                refuse("must not outlast what is made of it", finer, coarser)
        return self
