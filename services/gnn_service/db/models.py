"""Which model answers, and which one is tried beside it, from when on."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from gnn_service.db.repository import Repository


class Role(StrEnum):
    """What a model does: answer, or answer along unseen."""

    ACTIVE = "active"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True)
class Activation:
    """A model taking a role. An empty version ends a shadow. ``activated_at`` and role are its natural key."""

    role: Role
    model_version: str
    activated_at: datetime
    fingerprint: str = ""
    actor: str = ""
    note: str = ""


class ModelRepository(Repository):
    """Activations of one tenant's models; none is ever removed."""

    async def activate(self, activation: Activation) -> None:
        """Note that a model takes a role; the same again changes nothing."""
        await self._fetch(
            "model.activate",
            _ACTIVATE,
            self._tenant,
            activation.role,
            activation.model_version,
            activation.activated_at,
            activation.fingerprint,
            activation.actor,
            activation.note,
        )

    async def current(self, role: Role) -> Activation | None:
        """Who has a role now; None where nobody ever had it, or the last one was ended."""
        row = await self._row("model.current", _HISTORY, self._tenant, role, 1)
        return None if row is None or not row["model_version"] else Activation(**dict(row) | {"role": role})

    async def history(self, role: Role, *, limit: int = 100) -> tuple[Activation, ...]:
        """Who had a role, the newest first."""
        rows = await self._fetch("model.history", _HISTORY, self._tenant, role, limit)
        return tuple(Activation(**dict(row) | {"role": role}) for row in rows)


_ACTIVATE: Final = """
insert into model_activation (tenant_id, role, model_version, activated_at, fingerprint, actor, note)
values ($1, $2, $3, $4, $5, $6, $7) on conflict (tenant_id, role, activated_at) do nothing"""
_HISTORY: Final = """
select role, model_version, activated_at, fingerprint, actor, note from model_activation
where tenant_id = $1 and role = $2 order by activated_at desc limit $3"""
