"""Every setting of the product: one frozen tree, read from arguments, environment, files and secrets.

`load_settings` is the one way in. It reads, strongest first: its arguments, environment variables (`GNN_` before,
`__` between levels), `.env`, a TOML file, a secrets directory, and the defaults of the groups.
"""

import os
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gnn_service.core import config_sources
from gnn_service.core.config_breaker import BreakerSettings
from gnn_service.core.config_database import DatabaseSettings
from gnn_service.core.config_groups import (
    ApiSettings,
    InferenceSettings,
    ModelSettings,
    MonitoringSettings,
    ObservabilitySettings,
    TrainingSettings,
)
from gnn_service.core.config_types import refuse
from gnn_service.core.errors import ConfigurationError

__all__ = [
    "ApiSettings",
    "BreakerSettings",
    "DatabaseSettings",
    "InferenceSettings",
    "ModelSettings",
    "MonitoringSettings",
    "ObservabilitySettings",
    "Settings",
    "TrainingSettings",
    "load_settings",
    "load_with_sources",
]


class Settings(BaseSettings):
    """The whole tree. Build it with `load_settings`, whose errors name field, value, source and range."""

    model_config = SettingsConfigDict(
        env_prefix="GNN_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        env_parse_none_str="null",
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
    )

    model: ModelSettings = Field(default_factory=ModelSettings, description=ModelSettings.__doc__)
    training: TrainingSettings = Field(default_factory=TrainingSettings, description=TrainingSettings.__doc__)
    inference: InferenceSettings = Field(default_factory=InferenceSettings, description=InferenceSettings.__doc__)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings, description=DatabaseSettings.__doc__)
    api: ApiSettings = Field(default_factory=ApiSettings, description=ApiSettings.__doc__)
    monitoring: MonitoringSettings = Field(default_factory=MonitoringSettings, description=MonitoringSettings.__doc__)
    observability: ObservabilitySettings = Field(
        default_factory=ObservabilitySettings, description=ObservabilitySettings.__doc__
    )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then what `config_sources.stack` finds."""
        return (init_settings, *(layer.source for layer in config_sources.stack(settings_cls)))

    def directories(self) -> dict[str, Path]:
        """The folders that are written to, by the path of their setting."""
        return {"training.runs_dir": self.training.runs_dir, "database.data_dir": self.database.folder}

    def create_directories(self, *names: str) -> None:
        """Create folders and check that they can be written to: those that `names` give, or all of `directories()`.

        A service or command calls this when it starts, for what it uses; nothing is created at import.

        Raises:
            ConfigurationError: a folder cannot be created or written to.
        """
        for name in names or self.directories():
            try:
                self.directories()[name].mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise self._unusable(name, error.strerror or str(error)) from error
        self.check_directories(*names)

    def check_directories(self, *names: str) -> None:
        """Check, without creating anything, that the folders can be written to or created.

        Raises:
            ConfigurationError: a folder is something else, or its place does not let this user write.
        """
        for name in names or self.directories():
            path = self.directories()[name].absolute()
            nearest = next(place for place in (path, *path.parents) if place.exists())
            if not nearest.is_dir():
                raise self._unusable(name, f"{nearest} is not a folder")
            if not os.access(nearest, os.W_OK | os.X_OK):
                raise self._unusable(name, f"no permission to write to {nearest}")

    def _unusable(self, name: str, reason: str) -> ConfigurationError:
        hint = f"set {config_sources.variable(name)} to a folder that can be written to"
        return ConfigurationError(f"cannot use {self.directories()[name]}: {reason}; {hint}", where=name)

    @model_validator(mode="after")
    def _shutdown_waits_for_the_engine(self) -> Self:
        if self.api.shutdown_timeout_s < self.inference.drain_timeout_s:
            refuse("must give the engine time to drain", "api.shutdown_timeout_s", "inference.drain_timeout_s")
        return self


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from every source; `overrides` are the arguments, the strongest of them.

    Args:
        overrides: groups by name, each a mapping or an instance (of which the fields that were set count); groups
            that are given in part keep the rest: ``load_settings(api={"port": 0})``.

    Raises:
        ConfigurationError: a value or key is wrong; names field, value (never a secret's), source and range.
        DeviceUnavailableError: an explicit device is not on this machine.
    """
    return load_with_sources(**overrides)[0]


def load_with_sources(**overrides: Any) -> tuple[Settings, dict[str, str]]:
    """`load_settings`, and where each value came from: `{"api.port": "environment variable GNN_API__PORT", ...}`."""
    arguments = {name: _as_mapping(value) for name, value in overrides.items()}
    layers = [config_sources.Layer.of_arguments(Settings, arguments), *config_sources.stack(Settings)]
    settings = config_sources.build(Settings, arguments, layers)
    return settings, config_sources.origins(Settings, layers)


def _as_mapping(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {name: _as_mapping(getattr(value, name)) for name in value.model_fields_set}
    return value
