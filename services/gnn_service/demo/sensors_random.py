"""Random events of faulty sensors in the course of time; the same however time is cut into stretches."""

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.plant import Array

SHORTEST_BURST_S, LONGEST_BURST_S = 1.0, 300.0


class Bursts:
    """Gaps of 1 to 300 s (log-uniform) with exponential pauses, so that they fill a share of all time."""

    def __init__(self, stream: np.random.Generator, share: float, start_s: float) -> None:
        self._stream = stream
        ratio = np.log(LONGEST_BURST_S / SHORTEST_BURST_S)
        mean_burst = (LONGEST_BURST_S - SHORTEST_BURST_S) / ratio
        self._mean_pause = mean_burst * (1.0 - share) / share
        self._on = bool(stream.random() < share)
        self._next = start_s + self._stay()

    def _stay(self) -> float:
        if self._on:
            return float(SHORTEST_BURST_S * (LONGEST_BURST_S / SHORTEST_BURST_S) ** self._stream.random())
        return float(self._mean_pause * self._stream.standard_exponential())

    def at(self, times: Array) -> NDArray[np.bool_]:
        """Whether a gap is on at these times, which rise from call to call."""
        on = np.empty(len(times), dtype=bool)
        for index, time in enumerate(times):
            while self._next <= time:
                self._on = not self._on
                self._next += self._stay()
            on[index] = self._on
        return on


class Spikes:
    """Single samples that are off, up or down by half to the whole of the height: a Poisson process."""

    def __init__(self, stream: np.random.Generator, rate_per_h: float, start_s: float) -> None:
        self._stream, self._pause = stream, 3600.0 / rate_per_h
        self._next = start_s + float(self._pause * stream.standard_exponential())

    def at(self, times: Array, interval_s: float) -> NDArray[np.float32]:
        """Height of the spike at each time, which rise from call to call: 0 for none, else within -1..1."""
        heights = np.zeros(len(times), dtype=np.float32)
        for index, time in enumerate(times):
            while self._next < time + interval_s:
                height, sign = self._stream.random(2)
                heights[index] = (0.5 + 0.5 * height) * (1.0 if sign < 0.5 else -1.0)
                self._next += float(self._pause * self._stream.standard_exponential())
        return heights
