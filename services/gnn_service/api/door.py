"""The bound on requests that are being read, encoded, computed or put into words: more are refused unread."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gnn_service.core.errors import OverloadedError

_RETRY_S: Final = 1.0


class Door:
    """Stands before all that is done for a request, as the engine's own bound stands only before the model.

    In the event loop's thread only.

    Args:
        places: requests that may be inside, at most.
        doing: what is done with those inside, for the others.
    """

    def __init__(self, places: int, doing: str = "windows are being diagnosed") -> None:
        self._places = places
        self._doing = doing
        self._stay_s = 0.0
        self.inside = 0

    def check(self) -> None:
        """Refuse where there is no place now; holds none, for who has a body to receive first.

        Raises:
            OverloadedError: as `place`.
        """
        if self.inside >= self._places:
            retry_s = max(_RETRY_S, self._stay_s)
            detail = f"{self.inside} {self._doing} already; try again in {retry_s:.0f} s"
            raise OverloadedError(detail, retry_after_s=retry_s)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Be inside for as long as the context lasts.

        Raises:
            OverloadedError: there is no place; ``retry_after_s`` is how long whoever was answered last had been inside.
        """
        self.check()
        self.inside += 1
        entered = time.monotonic()
        try:
            yield
            self._stay_s = time.monotonic() - entered
        finally:
            self.inside -= 1
