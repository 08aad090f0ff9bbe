"""The settings of the spool: what is accepted while the database is away, and how much of it."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from gnn_service.core.config_types import SettingsGroup, UserPath, lower, refuse

_KIB, _MIB = 2**10, 2**20


class SpoolSettings(SettingsGroup):
    """Readings and diagnoses on disk, until the database takes them."""

    folder: UserPath | None = Field(None, description="Folder of the spool; unset takes `spool` in the data folder.")
    bytes_max: int = Field(2**30, ge=128 * _KIB, le=2**44, description="Bytes on disk, at most; more is refused.")
    age_max_s: float = Field(604_800.0, gt=0, le=31_622_400, description="Seconds that the oldest record may wait.")
    over_age: Annotated[Literal["refuse", "keep"], BeforeValidator(lower)] = Field(
        "refuse", description="What becomes of new records while the oldest waits longer than that."
    )
    segment_bytes: int = Field(16 * _MIB, ge=64 * _KIB, le=2**30, description="Bytes after which a new file begins.")
    commit_wait_ms: float = Field(20.0, ge=0, le=1000, description="Milliseconds that records gather for one fsync.")
    queue_max_bytes: int = Field(64 * _MIB, ge=64 * _KIB, le=2**34, description="Bytes that may wait to be written.")
    write_timeout_s: float = Field(10.0, gt=0, le=600, description="Seconds for a write to be on disk, at most.")

    @model_validator(mode="after")
    def _limits_fit(self) -> Self:
        if 2 * self.segment_bytes > self.bytes_max:
            refuse("must leave room for two files at least", "segment_bytes", "bytes_max")
        return self
