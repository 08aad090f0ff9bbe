"""Time as a dependency, so that tests move it by hand."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that never go backwards, and a pause measured in them."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Give way to others for at least `seconds`."""
        ...


class SystemClock:
    """The clock of the operating system and of the running event loop."""

    monotonic = staticmethod(time.monotonic)
    """Seconds, unmoved by corrections of the wall clock."""

    async def sleep(self, seconds: float) -> None:
        """Pause the calling task."""
        await asyncio.sleep(seconds)
