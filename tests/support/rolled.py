"""What roll-ups must be: the plain aggregation of the frames that the database holds."""

from typing import Any

import numpy as np

WIDTHS_US = {"rollup_1m": 60_000_000, "rollup_1h": 3_600_000_000}
_FRAMES = """
select tenant_id, machine_id, rate_group, layout_id, array_agg(ts order by ts) as times,
       array_agg(vals order by ts) as vals from frame group by 1, 2, 3, 4
"""
_BUCKETS = """
select tenant_id, machine_id, rate_group, layout_id, array[ts] as time, count, mean, low, high from {table}
order by 1, 2, 3, 4, ts
"""


def aggregated(times, values, width_us):
    """One bucket at a time, in double precision: {bucket: rows of count, mean, low, high}."""
    rows = {}
    for bucket in np.unique(times // width_us):
        part = values[times // width_us == bucket].astype(np.float64)
        columns = [column[~np.isnan(column)] for column in part.T]
        rows[int(bucket) * width_us] = np.array(
            [(len(c), c.mean(), c.min(), c.max()) if len(c) else (0, *[np.nan] * 3) for c in columns]
        )
    return rows


async def frames_rolled_up(con, table):
    """What the roll-up should be, from what is stored now: {key: {bucket: rows}}."""
    rows = await con.fetch(_FRAMES)
    return {tuple(row[:4]): aggregated(row["times"], row["vals"], WIDTHS_US[table]) for row in rows}


async def stored_rollup(con, table):
    """What the roll-up is, in the same form."""
    found: dict[tuple[int, ...], dict[int, Any]] = {}
    for row in await con.fetch(_BUCKETS.format(table=table)):
        columns = np.array([row["count"], row["mean"], row["low"], row["high"]], np.float64).T
        found.setdefault(tuple(row[:4]), {})[int(row["time"][0])] = columns
    return found


def assert_same(found, wanted, size=1.0):
    """Equal up to single precision at the size of the values."""
    assert found.keys() == wanted.keys()
    for key, buckets in wanted.items():
        assert found[key].keys() == buckets.keys(), key
        for bucket, rows in buckets.items():
            np.testing.assert_allclose(found[key][bucket], rows, rtol=1e-6, atol=1e-6 * size)


async def assert_rolled_up(con, size=1.0):
    """Minutes and hours are exactly the frames'."""
    for table in WIDTHS_US:
        assert_same(await stored_rollup(con, table), await frames_rolled_up(con, table), size)


async def kept_by_timescale(con):
    """Whether TimescaleDB keeps the roll-ups of this database, and not the service."""
    return await con.fetchval("select to_regclass('gnn.rollup_1m_timescale') is not null")


async def positions_that_differ(con, bucket):
    """How many positions the function for histories tells otherwise than the view, and how many there are."""
    return tuple(await con.fetchrow(_POSITIONS.format(bucket=bucket)))


_POSITIONS = """
select count(*) filter (where f.ts is distinct from r.ts or f.count is distinct from r.count[p]
                           or coalesce(f.mean::real, 'NaN') is distinct from r.mean[p]
                           or coalesce(f.low, 'NaN') is distinct from r.low[p]
                           or coalesce(f.high, 'NaN') is distinct from r.high[p]), count(*)
from reading_{bucket} r cross join lateral generate_subscripts(r.count, 1) p
left join lateral rolled_{bucket}(r.tenant_id, r.machine_id, r.rate_group, r.layout_id, p, r.ts,
                                  r.ts + interval '1 second') f on true
"""
