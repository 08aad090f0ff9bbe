"""Diagnoses of stored machines on the wire."""

from typing import Literal

from pydantic import BaseModel, Field

from gnn_service.domain.diagnosis import Diagnosis, MachineDiagnosis


class DiagnosisEntry(BaseModel):
    """A diagnosis that was kept, and who asked for it."""

    origin: Literal["stream", "request", "backfill"]
    request_id: str
    diagnosis: Diagnosis


class DiagnosisPage(BaseModel):
    """Diagnoses, the newest first."""

    block: Literal["health_assessment"] = Field("health_assessment", description="ISO 13374 block")
    machine: str
    diagnoses: list[DiagnosisEntry]
    next: str | None = Field(None, description="give it as `before` for those that follow; null at the end")


__all__ = ["DiagnosisEntry", "DiagnosisPage", "MachineDiagnosis"]
