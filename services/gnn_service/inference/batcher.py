"""The bounded line of waiting requests, and which of them make the next batch. No clock, no I/O, no event loop."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice

from opentelemetry.trace import Link

from gnn_service.inference.runtimes.base import Item, Output
from gnn_service.inference.stats import Ending

Signature = tuple[tuple[int, ...], ...]
"""The shapes of an item's arrays, in the order of the model's inputs: items of one signature stack into one batch."""


class Priority(IntEnum):
    """Who goes first when several wait."""

    BACKGROUND = 0
    """May wait for everybody else and gives way when the line is full: counterfactuals, back-fill."""

    NORMAL = 1
    """A caller who waits for the answer."""

    PROBE = 2
    """The engine's own question whether it still works; the line's bound does not count it."""


@dataclass(slots=True, eq=False)
class Request:
    """One item on its way. Times are seconds of the engine's clock."""

    item: Item
    signature: Signature
    priority: Priority
    arrived_at: float
    deadline_at: float
    answer: asyncio.Future[Output]
    link: Link | None = None
    ending: Ending | None = None

    @property
    def done(self) -> bool:
        """Whether nobody waits any more: answered, failed, expired or cancelled."""
        return self.answer.done()

    def resolve(self, output: Output) -> None:
        """Hand over the answer, unless nobody waits for it."""
        if not self.answer.done():
            self.ending = Ending.ANSWERED
            self.answer.set_result(output)

    def fail(self, error: Exception, ending: Ending) -> None:
        """Hand over an error, unless nobody waits for it."""
        if not self.answer.done():
            self.ending = ending
            self.answer.set_exception(error)


Lane = OrderedDict[int, Request]
Group = dict[Priority, Lane]


class Batcher:
    """Requests in order of arrival, grouped by what stacks.

    ``take`` prefers the fullest group among those of the highest priority, because a full batch costs less per item;
    a group whose first request was held open for ``wait_s`` while others went before it goes next. One whose turn it
    is never waits for more: it takes what is there, and fills the rest of the batch with lower priorities.

    Args:
        batch_max: items in a batch, at most.
        wait_s: seconds that fuller groups may go before a waiting one.
        queue_max: requests that may wait, probes not counted.
    """

    def __init__(self, batch_max: int, wait_s: float, queue_max: int) -> None:
        self._batch_max = batch_max
        self._wait_s = wait_s
        self._queue_max = queue_max
        self._groups: dict[Signature, Group] = {}
        self._waiting = dict.fromkeys(Priority, 0)

    def __len__(self) -> int:
        return sum(self._waiting.values())

    def put(self, request: Request) -> bool:
        """Let a request wait; False, and nothing changed, when the line is full."""
        if request.priority is not Priority.PROBE and self._bounded() >= self._queue_max:
            return False
        lane = self._groups.setdefault(request.signature, {}).setdefault(request.priority, OrderedDict())
        lane[id(request)] = request
        self._waiting[request.priority] += 1
        return True

    def discard(self, request: Request) -> None:
        """Forget a request that is waiting; one that is not is no error."""
        lane = self._groups.get(request.signature, {}).get(request.priority, OrderedDict())
        if lane.pop(id(request), None) is not None:
            self._waiting[request.priority] -= 1
            self._tidy(request.signature)

    def give_way(self, priority: Priority) -> Request | None:
        """Take out the latest of the lowest-ranked requests below ``priority``, if there is one."""
        lowest = next((rank for rank in Priority if self._waiting[rank]), priority)
        if lowest >= priority:
            return None
        lanes = [group[lowest] for group in self._groups.values() if group.get(lowest)]
        request = max((next(reversed(lane.values())) for lane in lanes), key=lambda last: last.arrived_at)
        self.discard(request)
        return request

    def take(self, now: float, limit: int | None = None) -> list[Request]:
        """The next batch, in order of priority and arrival; empty when nobody waits.

        Args:
            now: seconds of the clock that stamped the requests.
            limit: items in this batch, at most, where fewer than ``batch_max`` are wanted.
        """
        if not self._groups:
            return []
        size = min(limit or self._batch_max, self._batch_max)
        signature = self._next_group(now, size)
        group = self._groups[signature]
        batch: list[Request] = []
        for priority in sorted(group, reverse=True):
            batch.extend(islice(group[priority].values(), size - len(batch)))
        for request in batch:
            self.discard(request)
        return batch

    def drain(self) -> list[Request]:
        """Everybody who waits, in order of arrival; nobody waits afterwards."""
        requests = [request for group in self._groups.values() for lane in group.values() for request in lane.values()]
        self._groups.clear()
        self._waiting = dict.fromkeys(Priority, 0)
        return sorted(requests, key=lambda request: request.arrived_at)

    def _bounded(self) -> int:
        return self._waiting[Priority.NORMAL] + self._waiting[Priority.BACKGROUND]

    def _next_group(self, now: float, size: int) -> Signature:
        rank = max(priority for priority, count in self._waiting.items() if count)
        lanes = {signature: group[rank] for signature, group in self._groups.items() if group.get(rank)}
        arrived = {signature: next(iter(lane.values())).arrived_at for signature, lane in lanes.items()}
        oldest = min(arrived, key=lambda signature: arrived[signature])
        if now - arrived[oldest] >= self._wait_s:
            return oldest
        return max(lanes, key=lambda signature: (min(len(lanes[signature]), size), -arrived[signature]))

    def _tidy(self, signature: Signature) -> None:
        group = self._groups[signature]
        for priority in [priority for priority, lane in group.items() if not lane]:
            del group[priority]
        if not group:
            del self._groups[signature]
