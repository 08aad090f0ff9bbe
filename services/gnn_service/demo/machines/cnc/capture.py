"""What can be captured of the machining centre: its feed drives in the reversal test, and the spindle's vibration."""

from typing import TYPE_CHECKING

import numpy as np

from gnn_service.demo.capture import Beside, CircuitCapture, Course, Moment, Signal
from gnn_service.demo.machines.cnc.dynamic import WAVEFORM_HZ, simulate_axis, spindle_waveform
from gnn_service.demo.machines.cnc.feed import LINEAR
from gnn_service.demo.plant import Array
from gnn_service.demo.streams import Key
from gnn_service.physics.drives import torque_constant

if TYPE_CHECKING:
    from gnn_service.demo.traces import Trace

CELSIUS = 273.15
CAPTURE_HZ, STEP_S = 100.0, 2e-3
SECONDS, SPEED, STROKE = 3.5, 10.0 / 60.0, 0.4
SPINDLE_SPEED, LISTENED_S = 200.0, 0.5


def feed_axes(moment: Moment, key: Key) -> Course:
    """X, Y and Z go to and fro as in the reversal test, with their motors as warm as they are."""
    del key  # nothing in it is random
    every = round(1.0 / (CAPTURE_HZ * STEP_S))
    times: Array = np.zeros(0)
    sensors, states, start = {}, {}, {}
    for axis in LINEAR:
        warm = moment.values[f"{axis}.t_motor"]
        name = f"{axis}.torque_constant"
        constant = torque_constant(moment.parameters[name], np.array([warm + CELSIUS]))
        parameters = {**moment.parameters, name: np.asarray(constant)}
        all_times, shown = simulate_axis(parameters, axis, SECONDS, speed=SPEED, stroke=STROKE, step_s=STEP_S)
        times = all_times[every - 1 :: every]
        for signal in ("v", "i", "follow_err"):
            sensors[f"{axis}.{signal}"] = shown[f"{axis}.{signal}"][every - 1 :: every, 0]
        table = shown[f"{axis}.position"][every - 1 :: every, 0]
        states[f"{axis}_table"] = Signal("mm", f"Position of the table of {axis[0].upper()}", table)
        start[f"{axis}_motor_temperature"] = (warm, "Cel")
    return Course(times, sensors, states, start)


def spindle(moment: Moment, key: Key) -> Course:
    """Listen to the spindle at 12 000 1/min without a cut."""
    values = {name: float(array[0]) for name, array in moment.parameters.items()}
    times, acceleration = spindle_waveform(values, key, speed=SPINDLE_SPEED, seconds=LISTENED_S)
    heard = Signal("m/s2", "Acceleration at the spindle's nose", acceleration)
    return Course(times, {}, {"acceleration": heard}, {"speed": (SPINDLE_SPEED * 60.0, "1/min")})


def _first(trace: "Trace") -> int:
    """The reversal test begins with its state."""
    del trace
    return 0


CAPTURES = (
    CircuitCapture(
        id="feed_axes",
        circuit="motor, ball screw and table of X, Y and Z in their position loops",
        manoeuvre="each axis goes 0.4 m to and fro at 10 m/min for 3.5 s, as in the reversal test",
        components=(*LINEAR, "lubrication_unit"),
        modes=("C3", "C4", "C9"),
        rate_hz=CAPTURE_HZ,
        step_s=STEP_S,
        simulate=feed_axes,
        beside=Beside("reversal_test", _first, ("x_axis.i", "z_axis.i", "x_axis.v")),
    ),
    CircuitCapture(
        id="spindle_vibration",
        circuit="the spindle's shaft, its front bearing and the structure around it",
        manoeuvre="0.5 s at 12 000 1/min without a cut",
        components=("spindle",),
        modes=("C1",),
        rate_hz=WAVEFORM_HZ,
        step_s=1.0 / WAVEFORM_HZ,
        simulate=spindle,
    ),
)
