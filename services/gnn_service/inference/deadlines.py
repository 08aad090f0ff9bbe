"""One timer for all requests, instead of one each."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from gnn_service.core.clock import Clock
from gnn_service.core.errors import DeadlineExceededError
from gnn_service.inference.batcher import Request
from gnn_service.inference.stats import Ending

_PAUSE_S: Final = 0.001
_PAUSE_PER_REQUEST_S: Final = 2e-6
"""Looking at everybody costs about 0.2 us each: however many there are, most of the time is left to others."""


class Deadlines:
    """Tells requests when their time is up.

    The timer stands at the soonest deadline it was told of. When it rings it looks at everybody and is wound up again
    for the soonest that is left; most requests have been answered by then and cost nothing.

    Args:
        clock: that stamped the requests.
        live: everybody who may still wait.
    """

    def __init__(self, clock: Clock, live: Callable[[], Iterable[Request]]) -> None:
        self._clock = clock
        self._live = live
        self._timer: asyncio.TimerHandle | None = None
        self._at = float("inf")

    def watch(self, request: Request) -> None:
        """Have a request that has just arrived told at its deadline.

        Compared in the event loop's time: after a jump of the clock the timer rings later than that clock says.
        """
        at = asyncio.get_running_loop().time() + request.deadline_at - request.arrived_at
        if at < self._at:
            self._wind_up(at)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._at = float("inf")

    def _wind_up(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at = at
        self._timer = asyncio.get_running_loop().call_at(at, self._ring)

    def _ring(self) -> None:
        self.close()
        now, soonest = self._clock.monotonic(), float("inf")
        requests = [request for request in self._live() if not request.done()]
        for request in requests:
            if request.deadline_at <= now:
                expire(request)
            else:
                soonest = min(soonest, request.deadline_at)
        if soonest < float("inf"):
            pause_s = max(soonest - now, _PAUSE_S + len(requests) * _PAUSE_PER_REQUEST_S)
            self._wind_up(asyncio.get_running_loop().time() + pause_s)


def expire(request: Request) -> None:
    """Tell a request that its deadline has passed."""
    limit_s = request.deadline_at - request.arrived_at
    error = DeadlineExceededError(f"no answer within {limit_s:g} s; allow more time or send fewer requests at once")
    request.fail(error, Ending.EXPIRED)
