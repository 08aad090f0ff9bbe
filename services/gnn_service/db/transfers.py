"""How far files of readings have been brought in."""

from typing import Final

from gnn_service.db.repository import Repository


class TransferRepository(Repository):
    """Progress of imports into one tenant's machines."""

    async def rows(self, machine_id: int, source: str) -> int:
        """How many rows of a file, by its digest, are in the tables."""
        row = await self._row("transfer.rows", _ROWS, self._tenant, machine_id, source)
        return 0 if row is None else int(row["rows"])

    async def keep(self, machine_id: int, source: str, rows: int) -> None:
        """Note that so many rows of a file are in the tables; fewer than noted before changes nothing."""
        await self._fetch("transfer.keep", _KEEP, self._tenant, machine_id, source, rows)


_ROWS: Final = "select rows from transfer where tenant_id = $1 and machine_id = $2 and source = $3"
_KEEP: Final = """
insert into transfer as t (tenant_id, machine_id, source, rows) values ($1, $2, $3, $4)
on conflict (tenant_id, machine_id, source) do update set rows = excluded.rows, updated_at = now()
where t.rows < excluded.rows"""
