"""What can be captured of the moulding machine: one injection, filling and holding."""

from typing import TYPE_CHECKING

import numpy as np

from gnn_service.demo.capture import Beside, CircuitCapture, Course, Moment, Signal
from gnn_service.demo.machines.moulding.dynamic import CAPTURE_HZ, InjectionCircuit
from gnn_service.demo.machines.moulding.start import trimmed
from gnn_service.demo.streams import Key

if TYPE_CHECKING:
    from gnn_service.demo.traces import Trace

CELSIUS = 273.15
SECONDS, STEP_S = 4.0, 2e-3


def injection(moment: Moment, key: Key) -> Course:
    """Inject one shot with the oil's temperature of the moment, the accumulator charged and the shot metered."""
    del key  # nothing in it is random
    oil = moment.values["oil_tank.t_oil"]
    circuit = InjectionCircuit(moment.parameters, moment.site, oil_k=oil + CELSIUS)
    dose = np.minimum(circuit.p["dose"] + trimmed(circuit.p), circuit.p["screw_unit.stroke"])
    circuit.y["screw"] = dose
    times, sensors, melt = [], [], []
    for _ in range(round(SECONDS * CAPTURE_HZ)):
        for _ in range(round(1.0 / (CAPTURE_HZ * STEP_S))):
            circuit.step(STEP_S)
        times.append(circuit.time)
        sensors.append(circuit.signals())
        melt.append(float(circuit.y["melt"][0]))
    return Course(
        np.array(times),
        {name: np.array([row[name][0] for row in sensors]) for name in sensors[0]},
        {"melt": Signal("cm3", "Melt in the cavity", np.array(melt) * 1e6)},
        {
            "oil_temperature": (oil, "Cel"),
            "screw_position": (float(dose[0]) * 1e3, "mm"),
            "accumulator_pressure": (float(circuit.p["accumulator.charged_pressure"][0]) * 1e-5, "bar"),
        },
    )


def _filling(trace: "Trace") -> int:
    """The step of a trace of production in which the first whole shot begins to fill."""
    fills = trace.frames.phase[:, 0] == trace.system.plant.PHASES.index("fill")
    return int(np.flatnonzero(fills[1:] & ~fills[:-1])[0]) + 1


CAPTURES = (
    CircuitCapture(
        id="injection_circuit",
        circuit="both servo pumps, accumulator, injection servo valve and cylinders, screw and melt",
        manoeuvre="one shot of 4 s: filled with controlled speed, then held with controlled pressure",
        components=("servo_pump_1", "servo_pump_2", "accumulator", "manifold", "injection_cylinder", "screw_unit"),
        modes=("I1", "I2", "I3", "I3b", "I4"),
        rate_hz=CAPTURE_HZ,
        step_s=STEP_S,
        simulate=injection,
        pictured="I3",
        beside=Beside(
            "production", _filling, ("manifold.p_sys", "injection_cylinder.p_hyd", "injection_cylinder.v"), seconds=2.5
        ),
    ),
)
