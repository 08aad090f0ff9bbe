"""Counts of HTTP requests as plain numbers, read when Prometheus asks: an instrument's lock and labels cost more."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

# seconds: a window takes 0.3 ms in the model, a request a few, and the longest wait is the deadline
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BYTES: Final = (1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 8388608.0, 33554432.0)


class Spread:
    """How values spread over fixed bounds; the last count is of those above all."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds and how many values lie at or below, as Prometheus has them."""
        found: list[tuple[str, float]] = []
        running = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            running += count
            found.append(("+Inf" if bound == float("inf") else repr(float(bound)), running))
        return found


class RouteTally:
    """Requests of one method to one route. Belongs to the event loop."""

    __slots__ = ("body_bytes", "inside", "seconds", "statuses")

    def __init__(self) -> None:
        self.inside = 0
        self.statuses: dict[int, int] = {}
        self.seconds = Spread(SECONDS)
        self.body_bytes = Spread(BYTES)

    def ended(self, status: int, seconds: float, body_bytes: int | None) -> None:
        """Count an answer; ``body_bytes`` None where no body was read."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.seconds.observe(seconds)
        if body_bytes is not None:
            self.body_bytes.observe(body_bytes)


class RequestTallies(Collector):
    """The tallies of one application, and their export."""

    def __init__(self) -> None:
        self.inside = 0
        """Requests of routes that are not known before they are answered."""
        self._tallies: dict[tuple[str, str], RouteTally] = {}

    def of(self, method: str, route: str) -> RouteTally:
        """The tally of a method and a route's template; always the same one."""
        found = self._tallies.get((method, route))
        if found is None:
            found = self._tallies[method, route] = RouteTally()
        return found

    def describe(self) -> list[Metric]:
        """Nothing beforehand: there is nothing else of these names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metric families."""
        labels = ["method", "route"]
        requests = CounterMetricFamily("gnn_http_requests", "HTTP requests answered.", labels=[*labels, "status"])
        seconds = HistogramMetricFamily(
            "gnn_http_request_seconds", "Seconds from the request's head to the end of its answer.", labels=labels
        )
        sizes = HistogramMetricFamily(
            "gnn_http_request_body_bytes", "Bytes of request bodies that were read.", labels=labels
        )
        for names, tally in self._tallies.items():
            for status, count in sorted(tally.statuses.items()):
                requests.add_metric([*names, str(status)], count)
            if tally.statuses:
                seconds.add_metric(names, tally.seconds.buckets(), tally.seconds.total)
            if any(tally.body_bytes.counts):
                sizes.add_metric(names, tally.body_bytes.buckets(), tally.body_bytes.total)
        yield from (requests, seconds, sizes)
        inside = self.inside + sum(tally.inside for tally in self._tallies.values())
        yield GaugeMetricFamily("gnn_http_requests_in_progress", "HTTP requests being answered now.", value=inside)
