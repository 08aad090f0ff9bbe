"""The bounded line of waiting requests, and which of them make the next batch. No clock, no I/O, no event loop."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from enum import IntEnum
from typing import Any

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


class Request(asyncio.Future[Output]):
    """One item on its way, and the future of its answer. Times are seconds of the engine's clock.

    It ends exactly once: answered, failed or cancelled by whoever waits. ``on_end`` hears of it in that instant, but
    not of an answer: whoever hands that over counts it.
    ``context`` is the caller's own, which goes with the item.
    """

    __slots__ = (
        "_on_end",
        "arrived_at",
        "context",
        "deadline_at",
        "ending",
        "item",
        "link",
        "priority",
        "signature",
        "waiting",
    )

    def __init__(  # noqa: PLR0913 - one request as the engine knows it
        self,
        item: Item,
        signature: Signature,
        priority: Priority,
        arrived_at: float,
        deadline_at: float,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        on_end: Callable[["Request"], object] | None = None,
        link: Link | None = None,
        context: object = None,
    ) -> None:
        super().__init__(loop=loop)
        self.item = item
        self.signature = signature
        self.priority = priority
        self.arrived_at = arrived_at
        self.deadline_at = deadline_at
        self.link = link
        self.context = context
        self.ending: Ending | None = None
        self.waiting = False
        self._on_end = on_end

    def resolve(self, output: Output) -> bool:
        """Hand over the answer; False when nobody waits for it any more."""
        if self.done():
            return False
        self.ending = Ending.ANSWERED
        self.set_result(output)
        return True

    def fail(self, error: Exception, ending: Ending) -> None:
        """Hand over an error, unless nobody waits for it."""
        if not self.done():
            self.set_exception(error)
            self._ended(ending)

    def cancel(self, msg: Any | None = None) -> bool:
        """Give up waiting; nobody else notices. False when it had ended before."""
        if not super().cancel(msg):
            if not self.cancelled():
                self.exception()  # it came in the same instant: nobody will read it
            return False
        self._ended(Ending.CANCELLED)
        return True

    def _ended(self, ending: Ending) -> None:
        self.ending = ending
        if self._on_end is not None:
            self._on_end(self)


Lane = OrderedDict[Request, None]
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
        self._waiting = [0] * len(Priority)  # by priority

    def __len__(self) -> int:
        return sum(self._waiting)

    def put(self, request: Request) -> bool:
        """Let a request wait; False, and nothing changed, when the line is full."""
        priority, waiting = request.priority, self._waiting
        if priority is not Priority.PROBE and waiting[0] + waiting[1] >= self._queue_max:
            return False
        group = self._groups.get(request.signature)
        if group is None:
            group = self._groups[request.signature] = {}
        lane = group.get(priority)
        if lane is None:
            lane = group[priority] = OrderedDict()
        lane[request] = None
        waiting[priority] += 1
        request.waiting = True
        return True

    def discard(self, request: Request) -> None:
        """Forget a request that is waiting; one that is not is no error."""
        if not request.waiting:
            return
        request.waiting = False
        del self._groups[request.signature][request.priority][request]
        self._waiting[request.priority] -= 1
        self._tidy(request.signature)

    def waiting(self) -> list[Request]:
        """Everybody who waits, in no order."""
        return [request for group in self._groups.values() for lane in group.values() for request in lane]

    def give_way(self, priority: Priority) -> Request | None:
        """Take out the latest of the lowest-ranked requests below ``priority``, if there is one."""
        lowest = next((rank for rank in Priority if self._waiting[rank]), priority)
        if lowest >= priority:
            return None
        lanes = [group[lowest] for group in self._groups.values() if group.get(lowest)]
        request = max((next(reversed(lane)) for lane in lanes), key=lambda last: last.arrived_at)
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
        signature = self._next_group(now, size) if len(self._groups) > 1 else next(iter(self._groups))
        group = self._groups[signature]
        batch: list[Request] = []
        for priority in sorted(group, reverse=True) if len(group) > 1 else tuple(group):
            lane = group[priority]
            count = min(len(lane), size - len(batch))
            for _ in range(count):
                request = lane.popitem(last=False)[0]
                request.waiting = False
                batch.append(request)
            self._waiting[priority] -= count
        self._tidy(signature)
        return batch

    def drain(self) -> list[Request]:
        """Everybody who waits, in order of arrival; nobody waits afterwards."""
        requests = self.waiting()
        for request in requests:
            request.waiting = False
        self._groups.clear()
        self._waiting = [0] * len(Priority)
        return sorted(requests, key=lambda request: request.arrived_at)

    def _next_group(self, now: float, size: int) -> Signature:
        rank = max(priority for priority in Priority if self._waiting[priority])
        lanes = {signature: group[rank] for signature, group in self._groups.items() if group.get(rank)}
        arrived = {signature: next(iter(lane)).arrived_at for signature, lane in lanes.items()}
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
