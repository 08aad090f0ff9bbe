"""Rolling bearings: friction, defect frequencies, vibration indicators and the waveform of a local defect.

Sources: T. A. Harris, M. N. Kotzalas, *Essential Concepts of Bearing Technology*, 5th ed. 2006 (Palmgren's friction
torque, defect frequencies); R. B. Randall, J. Antoni, Mechanical Systems and Signal Processing 25 (2011), tutorial on
bearing diagnostics (envelope, kurtosis, slip); ISO/TR 17243-1 (vibration of machine-tool spindles). The laws that map
severity onto indicators are representative of run-to-failure tests, not of one bearing type. SI throughout.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Value = float | Array


class DefectFrequencies(NamedTuple):
    """Frequencies over the shaft's: outer and inner race, ball spin and cage."""

    bpfo: Value
    bpfi: Value
    bsf: Value
    ftf: Value


def defect_frequencies(balls: Value, ball_diameter: Value, pitch_diameter: Value, angle: Value) -> DefectFrequencies:
    """Orders of the defect frequencies; diameters in m, contact angle in rad.

    BPFO = z/2 (1 - g), BPFI = z/2 (1 + g), BSF = D/2d (1 - g^2), FTF = (1 - g)/2 with g = d/D cos(angle).
    """
    ratio = ball_diameter / pitch_diameter * np.cos(angle)
    return DefectFrequencies(
        0.5 * balls * (1.0 - ratio),
        0.5 * balls * (1.0 + ratio),
        0.5 * pitch_diameter / ball_diameter * (1.0 - ratio * ratio),
        0.5 * (1.0 - ratio),
    )


def viscous_torque(viscosity: Value, speed: Value, pitch_diameter: Value, factor: Value) -> Array:
    """Palmgren's friction torque that no load causes, N m.

    T = 1e-7 f0 (nu n)^(2/3) dm^3 N mm for nu n >= 2 000, with nu in mm2/s, n in 1/min and dm in mm; below, 160e-7 f0
    dm^3. An empirical formula with a dimensional constant: takes floats or arrays of kinematic viscosity in m2/s,
    speed in revolutions a second and dm in m. ``factor`` f0 is about 1 for oil-air and 2 for grease (angular contact).
    """
    product = np.maximum(np.abs(viscosity * 1e6 * speed * 60.0), 2000.0)
    return np.asarray(1e-7 * factor * product ** (2.0 / 3.0) * (pitch_diameter * 1e3) ** 3 * 1e-3)


def load_torque(load: Value, pitch_diameter: Value, factor: Value) -> Value:
    """Palmgren's friction torque of the load, N m: f1 F dm."""
    return factor * load * pitch_diameter


def acceleration_factor(severity: Array) -> Array:
    """Growth of a bearing's RMS acceleration with a spall, 1 at 0 and about 11 at 1: 1 + 0.15 (e^(4.2 s) - 1)."""
    return np.asarray(1.0 + 0.15 * (np.exp(4.2 * severity) - 1.0))


def envelope_rise(severity: Array, full: Value) -> Array:
    """Envelope level at the defect frequency, in the unit of ``full``: full s^0.7. Rises first of all indicators."""
    return np.asarray(full * severity**0.7)


def kurtosis(severity: Array) -> Array:
    """Kurtosis of the acceleration: 3 + 9 x e^(1 - x), x = s / 0.35.

    12 where single impacts stand out, and back to 7 when the damage is spread over the race and the impacts overlap.
    """
    ratio = severity / 0.35
    return np.asarray(3.0 + 9.0 * ratio * np.exp(1.0 - ratio))


def crest_factor(kurtosis_value: Array) -> Array:
    """Crest factor that goes with a kurtosis: 4 for noise of kurtosis 3, then as its square root."""
    return np.asarray(4.0 * np.sqrt(kurtosis_value / 3.0))


def velocity_factor(severity: Array) -> Array:
    """Growth of the RMS velocity with a spall: 1 + 2.5 s^3. Late: the low frequencies see only gross damage."""
    return np.asarray(1.0 + 2.5 * severity**3)


def vibration_velocity(base: Value, unbalance: Value, process: Value, defect: Value) -> Array:
    """RMS of independent parts: sqrt(base^2 + unbalance^2 + process^2 + defect^2), all in one unit."""
    return np.asarray(np.sqrt(base * base + unbalance * unbalance + process * process + defect * defect))


def harmonics(time: Array, speed: float, amplitudes: Array) -> Array:
    """Sum of the shaft's orders 1, 2, ... with these amplitudes; time (N,) in s, speed in revolutions a second."""
    orders = np.arange(1, len(amplitudes) + 1)[:, None]
    return np.asarray((amplitudes[:, None] * np.sin(2.0 * np.pi * speed * orders * time)).sum(axis=0))


def impacts(time: Array, rate: float, slip: Array, *, resonance: float, decay: float) -> Array:
    """Unit ringing of a structure that a local defect strikes again and again.

    Impacts come at ``rate`` (1/s), each period longer by its own relative ``slip`` (M,), 1 to 2 % in practice; each
    rings at ``resonance`` (Hz) and dies away with ``decay`` (1/s). Time (N,) in s; as many impacts as fit and as
    there is slip for.
    """
    starts = np.cumsum((1.0 + slip) / rate)
    last = np.searchsorted(starts, time, side="right") - 1
    ringing = np.zeros_like(time)
    # what is older than a few time constants is below a thousandth
    depth = int(np.ceil(7.0 * rate / decay)) + 1
    for back in range(depth):
        index = last - back
        since = time - starts[np.maximum(index, 0)]
        pulse = np.exp(-decay * since) * np.sin(2.0 * np.pi * resonance * since)
        ringing += np.where(index >= 0, pulse, 0.0)
    return ringing
