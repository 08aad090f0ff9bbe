"""The bound on what the bodies of requests take together, in memory and in work, from their heads to their answers."""

from typing import Final

from gnn_service.core.errors import OverloadedError

SMALL_BYTES: Final = 64 * 1024
"""Bodies up to this are not counted: the bound on connections bounds them, and slow large ones must not refuse them."""
LARGE_BYTES: Final = 256 * 1024
"""Bodies over this take milliseconds of a thread each to be read."""
LARGE_MAX: Final = 64
"""Large bodies that may be held at once: what the threads read in well under a second."""


class BodiesHeld:
    """Bytes in bodies over `SMALL_BYTES`, and how many bodies are over `LARGE_BYTES`.

    In the event loop's thread only.

    Args:
        bytes_max: bytes, at most.
        large_max: large bodies, at most.
    """

    def __init__(self, bytes_max: int, large_max: int = LARGE_MAX) -> None:
        self._bytes_max = bytes_max
        self._large_max = large_max
        self.bytes = 0
        self.large = 0

    def fits(self, size: int, held: int = 0) -> bool:
        """Whether a body of ``size`` bytes has room, of which ``held`` are counted already."""
        if size <= SMALL_BYTES:
            return True
        if held <= LARGE_BYTES < size and self.large >= self._large_max:
            return False
        return self.bytes + size - held <= self._bytes_max


class Share:
    """What one body holds; release it however its request ends."""

    __slots__ = ("_bodies", "_size")

    def __init__(self, bodies: BodiesHeld) -> None:
        self._bodies = bodies
        self._size = 0

    def grow(self, size: int) -> None:
        """Hold ``size`` bytes in all, where more than is held already.

        Raises:
            OverloadedError: there is no room for so many; what was held still is.
        """
        if size <= self._size or size <= SMALL_BYTES:
            return
        bodies = self._bodies
        if not bodies.fits(size, self._size):
            raise OverloadedError(
                f"other requests hold {bodies.bytes / 2**20:.4g} MiB of bodies, {bodies.large} of them large; "
                "try again later, send smaller ones, or raise GNN_API__BODIES_MAX_BYTES",
                retry_after_s=1,
            )
        bodies.bytes += size - self._size
        bodies.large += self._size <= LARGE_BYTES < size
        self._size = size

    def release(self) -> None:
        """Let go of all of it; a second time changes nothing."""
        self._bodies.bytes -= self._size
        self._bodies.large -= self._size > LARGE_BYTES
        self._size = 0
