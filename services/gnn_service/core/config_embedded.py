"""The settings of the embedded PostgreSQL."""

from pydantic import Field

from gnn_service.core.config_types import SettingsGroup


class EmbeddedSettings(SettingsGroup):
    """The PostgreSQL that the service starts where `database.url` is unset."""

    port: int = Field(
        0, ge=0, le=65_535, description="TCP port on 127.0.0.1, for other programs; 0 opens a private socket alone."
    )
    connections_max: int = Field(60, ge=20, le=2000, description="Connections of all programs together, at most.")
    lock_timeout_s: float = Field(3.0, ge=0, le=600, description="Seconds for an earlier service to free the folder.")
    start_timeout_s: float = Field(120.0, gt=0, le=3600, description="Seconds to start, recovery after a crash too.")
    stop_timeout_s: float = Field(10.0, gt=0, le=600, description="Seconds to end in order before it is cut off.")
