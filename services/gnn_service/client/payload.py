"""Domain types as the values that the API reads."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gnn_service.core.errors import InvalidWindowError
from gnn_service.domain.machine import Machine
from gnn_service.domain.window import Window

Json = Mapping[str, Any]
"""A JSON object, decoded."""


def machine_value(machine: str | Machine | Mapping[str, Any]) -> Any:
    """A machine's id, or its description as JSON."""
    return machine.model_dump(mode="json", exclude_none=True) if isinstance(machine, Machine) else machine


def window_value(window: Window | Mapping[str, Any]) -> Mapping[str, Any]:
    """A window as JSON with NumPy arrays, in which the encoder writes NaN, a missing sample, as null.

    Raises InvalidWindowError for an infinite reading, which would be written as null too.
    """
    if not isinstance(window, Window):
        return window
    infinite = np.argwhere(np.isinf(window.values))
    if infinite.size:
        row, index = infinite[0].tolist()
        raise InvalidWindowError(
            "a reading is infinite; send NaN where a sample is missing", where=f"{window.sensors[row]}[{index}]"
        )
    return {
        "times": np.ascontiguousarray(window.times),
        "readings": {
            sensor: np.ascontiguousarray(row) for sensor, row in zip(window.sensors, window.values, strict=True)
        },
        "cycle": window.cycle,
        "phase_s": window.phase_s,
        "operating_state": window.operating_state,
    }
