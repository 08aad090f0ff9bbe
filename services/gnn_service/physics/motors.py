"""Hydraulic motors; numbers, arrays or quantities with units. D is m3 a revolution, speed revolutions a second."""

from typing import Any

import numpy as np


def motor_torque(displacement: Any, drop: Any, efficiency: Any = 1.0) -> Any:
    """T = eta_hm D dp / (2 pi), N m (ISO 4391)."""
    return displacement * drop / (2.0 * np.pi) * efficiency


def motor_flow(displacement: Any, speed: Any, leakage: Any = 0.0) -> Any:
    """Q = D n + Q_leak, m3/s."""
    return displacement * speed + leakage


def motor_drop(torque: Any, displacement: Any, efficiency: Any = 1.0) -> Any:
    """Pressure difference for a torque: dp = 2 pi T / (D eta_hm)."""
    return 2.0 * np.pi * torque / (displacement * efficiency)
