"""The numbers of readings on their way in as Prometheus metrics; read from their owners when asked for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class IntakeReaders:
    """Each gives the present numbers: of `Spool`, `Drain`, `Ingest`, `NewestReadings` and `Upkeep`."""

    spool: Callable[[], Any]
    drain: Callable[[], Any]
    ingest: Callable[[], Any]
    newest: Callable[[], Any]
    upkeep: Callable[[], Any]


_GAUGES: Final = (
    ("spool", "gnn_spool_records", "Records that wait for the database.", "records"),
    ("spool", "gnn_spool_bytes", "Bytes of the spool on disk.", "bytes"),
    ("spool", "gnn_spool_oldest_seconds", "Seconds that the oldest record has waited.", "oldest_s"),
    ("spool", "gnn_spool_aside_bytes", "Bytes of what was set aside.", "aside_bytes"),
    ("drain", "gnn_drain_away", "1 while the database does not take what is given to it.", "away"),
    ("ingest", "gnn_ingest_waiting_values", "Values that wait to be committed.", "waiting_values"),
    ("newest", "gnn_newest_machines", "Machines whose newest readings are in memory.", "machines"),
    ("newest", "gnn_newest_ticks", "Ticks of them.", "ticks"),
)
_COUNTS: Final = (
    ("spool", "gnn_spool_accepted", "Records that the spool took.", "accepted_total"),
    ("spool", "gnn_spool_refused", "Records that the spool refused.", "refused_total"),
    ("spool", "gnn_spool_drained", "Records that the database has taken from the spool.", "drained_total"),
    ("spool", "gnn_spool_rejected", "Records set aside because the database refuses them.", "rejected_total"),
    ("spool", "gnn_spool_damaged", "Damaged stretches set aside.", "damaged_total"),
    ("spool", "gnn_spool_failures", "Writes to the spool that failed.", "failures_total"),
    ("drain", "gnn_drain_failures", "Attempts to drain that failed.", "failures_total"),
    ("ingest", "gnn_ingest_stored_frames", "Frames acknowledged from the database.", "stored_frames_total"),
    ("ingest", "gnn_ingest_spooled_frames", "Frames acknowledged from the spool.", "spooled_frames_total"),
    ("ingest", "gnn_ingest_refused", "Calls whose readings were not kept.", "refused_total"),
    ("ingest", "gnn_ingest_commits", "Commits of readings.", "commits_total"),
    ("newest", "gnn_newest_evicted", "Machines whose readings left memory for others.", "evicted_total"),
    ("upkeep", "gnn_upkeep_rounds", "Rounds of upkeep.", "rounds"),
    ("upkeep", "gnn_upkeep_failures", "Rounds of upkeep that failed.", "failures"),
    ("upkeep", "gnn_upkeep_deleted", "Rows or chunks deleted because of their age.", "deleted"),
)


class IntakeCollector(Collector):
    """The Prometheus side: `Metrics.watch_intake` registers it."""

    def __init__(self, readers: IntakeReaders) -> None:
        self._readers = readers

    def describe(self) -> list[Metric]:
        """Nothing beforehand: there is nothing else of these names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metric families."""
        numbers = {name: getattr(self._readers, name)() for name in ("spool", "drain", "ingest", "newest", "upkeep")}
        for owner, name, meaning, field in _GAUGES:
            yield GaugeMetricFamily(name, meaning, value=float(getattr(numbers[owner], field)))
        for owner, name, meaning, field in _COUNTS:
            yield CounterMetricFamily(name, meaning, value=getattr(numbers[owner], field))
