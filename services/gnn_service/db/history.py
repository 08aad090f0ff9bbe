"""History for plots: minimum, mean, maximum and count of each bucket, from raw frames or from their roll-ups."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError
from gnn_service.db.machines import StoredMachine
from gnn_service.db.repository import Repository, instant

_SECOND, _MINUTE, _HOUR = 1_000_000, 60_000_000, 3_600_000_000
ORIGIN_US: Final = 946_684_800_000_000
"""Buckets are counted from 2000-01-01 UTC, those of the roll-ups too."""
BUCKETS_MAX: Final = 10_000
"""Buckets of one answer, at most."""
BUCKETS_AIM: Final = 1000
"""Buckets that a plot gets where it does not say how many; a screen has hardly more columns of pixels."""
SENSORS_MAX: Final = 64
VALUES_MAX: Final = 4_000_000
"""Values, raw or rolled up, that one answer may be made of: some seconds of work."""
_STEPS_US: Final = (
    *(step * _SECOND for step in (1, 2, 5, 10, 15, 30)),
    *(step * _MINUTE for step in (1, 2, 5, 10, 15, 30)),
    *(step * _HOUR for step in (1, 2, 3, 6, 12, 24, 48, 168)),
)


class Source(StrEnum):
    """What a history is made of."""

    RAW = "raw"
    MINUTES = "1m"
    HOURS = "1h"


_ROLLED_HZ: Final = {Source.MINUTES: 1 / 60, Source.HOURS: 1 / 3600}


@dataclass(frozen=True, slots=True)
class History:
    """Buckets of some sensors. Those in which no sensor has a value are left out.

    Shapes: ``times`` (B,) int64, starts of buckets of ``every_us``, microseconds UTC, rising; ``count`` (B, S) int64
    and ``low``, ``mean``, ``high`` (B, S) float32, NaN where the count is 0; columns as ``sensors``.
    """

    sensors: tuple[str, ...]
    every_us: int
    source: Source
    times: NDArray[np.int64]
    count: NDArray[np.int64]
    low: NDArray[np.float32]
    mean: NDArray[np.float32]
    high: NDArray[np.float32]


class HistoryRepository(Repository):
    """History of one tenant's machines."""

    async def history(
        self,
        machine: StoredMachine,
        sensors: Sequence[str],
        from_us: int,
        to_us: int,
        *,
        every_us: int | None = None,
    ) -> History:
        """What sensors showed in [from_us, to_us), widened to whole buckets.

        Args:
            machine: whose sensors.
            sensors: their tags.
            from_us: begin, microseconds since 1970 UTC.
            to_us: end, not included.
            every_us: length of a bucket; None takes a round one that makes at most `BUCKETS_AIM`. Whole minutes and
                hours come from the roll-ups, which know a reading some minutes after it was written.

        Raises:
            InvalidInputError: a sensor that the machine has not, more of them than `SENSORS_MAX`, no span of time, or
                more buckets than `BUCKETS_MAX`.
        """
        every = every_us if every_us is not None else round_step(to_us - from_us)
        _check(machine, sensors, from_us, to_us, every)
        first = ORIGIN_US + (from_us - ORIGIN_US) // every * every
        last = ORIGIN_US - (ORIGIN_US - to_us) // every * every
        source = Source.HOURS if every % _HOUR == 0 else Source.MINUTES if every % _MINUTE == 0 else Source.RAW
        rate_hz = max(machine.rates_hz, default=0.0) if source is Source.RAW else _ROLLED_HZ[source]
        if (last - first) / 1e6 * rate_hz * len(sensors) > VALUES_MAX:
            raise InvalidInputError(
                "takes too many readings; ask for whole hours, less time or fewer sensors", where="every"
            )
        numbers = [machine.sensor_ids[tag] for tag in sensors]
        rows = await self._fetch(
            f"history.{source.value}",
            _SQL[source],
            self._tenant,
            machine.machine_id,
            numbers,
            instant(first),
            instant(last),
            every,
        )
        return _history(tuple(sensors), every, source, rows)


def round_step(span_us: int) -> int:
    """The shortest round bucket of which a span needs at most `BUCKETS_AIM`; beyond the longest, whole weeks."""
    for step in _STEPS_US:
        if span_us <= step * BUCKETS_AIM:
            return step
    week = _STEPS_US[-1]
    return week * -(-span_us // (week * BUCKETS_AIM))


def _check(machine: StoredMachine, sensors: Sequence[str], from_us: int, to_us: int, every_us: int) -> None:
    unknown = [tag for tag in sensors if tag not in machine.sensor_ids]
    if unknown:
        raise InvalidInputError(f"machine {machine.machine.id} has no sensor {unknown[0]}", where="sensors")
    if not 1 <= len(sensors) <= SENSORS_MAX or len(set(sensors)) < len(sensors):
        raise InvalidInputError(f"ask for 1 to {SENSORS_MAX} different sensors", where="sensors")
    if to_us <= from_us:
        raise InvalidInputError("the end must be after the begin", where="to")
    if every_us < _SECOND:
        raise InvalidInputError("must be a second or more", where="every")
    if (to_us - from_us) / every_us > BUCKETS_MAX:
        raise InvalidInputError(f"would make more than {BUCKETS_MAX} buckets; make them longer", where="every")


def _history(sensors: tuple[str, ...], every_us: int, source: Source, rows: Sequence[Any]) -> History:
    parts = [row["times"] for row in rows]
    times = np.unique(np.concatenate(parts)) if parts else np.empty(0, np.int64)
    shape = (len(times), len(sensors))
    count = np.zeros(shape, np.int64)
    low, mean, high = (np.full(shape, np.nan, np.float32) for _ in range(3))
    for row in rows:
        place, column = np.searchsorted(times, row["times"]), row["place"] - 1
        count[place, column] = row["count"]
        for name, target in (("low", low), ("mean", mean), ("high", high)):
            target[place, column] = row[name]
    return History(sensors, every_us, source, times, count, low, mean, high)


_PLACES: Final = """
with wanted as (
    select l.rate_group, l.layout_id, s.place::int, array_position(l.sensor_ids, s.sensor_id) as position
    from unnest($3::int[]) with ordinality s(sensor_id, place)
    join layout l on l.tenant_id = $1 and l.machine_id = $2 and s.sensor_id = any(l.sensor_ids)),
bounds as (select $6::bigint * interval '1 microsecond' as every, timestamptz '2000-01-01 00:00:00+00' as origin),
"""
_COLLECT: Final = """
select place, array_agg(bucket) as times, array_agg(count) as count, array_agg(low) as low, array_agg(mean) as mean,
       array_agg(high) as high
from buckets group by place"""
_RAW: Final = """
buckets as (
    select w.place, date_bin(b.every, f.ts, b.origin) as bucket, count(*) as count,
           min(f.vals[w.position]) as low, avg(f.vals[w.position])::real as mean, max(f.vals[w.position]) as high
    from bounds b, wanted w
    join frame f on f.tenant_id = $1 and f.machine_id = $2 and f.rate_group = w.rate_group
                and f.layout_id = w.layout_id and f.ts >= $4 and f.ts < $5
    where f.vals[w.position] <> 'NaN'
    group by 1, 2)"""
_ROLLED: Final = """
buckets as (
    select w.place, date_bin(b.every, r.ts, b.origin) as bucket, sum(r.count)::bigint as count, min(r.low) as low,
           (sum(r.count * r.mean) / sum(r.count))::real as mean, max(r.high) as high
    from bounds b, wanted w, {rolled}($1, $2, w.rate_group, w.layout_id, w.position, $4, $5) r
    where r.count > 0
    group by 1, 2)"""
_SQL: Final = {
    Source.RAW: _PLACES + _RAW + _COLLECT,
    Source.MINUTES: _PLACES + _ROLLED.format(rolled="rolled_1m") + _COLLECT,
    Source.HOURS: _PLACES + _ROLLED.format(rolled="rolled_1h") + _COLLECT,
}
"""A history of hours and longer is made of the hours' roll-up, of minutes and longer of the minutes'."""
