"""The robot's own tests: constant speed in both directions, brakes, backlash, accuracy. They show what work hides."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.robot.arm import JOINTS, Arm
from gnn_service.demo.machines.robot.duty import STEADY_S, TABLES
from gnn_service.demo.machines.robot.joints import Push, Work, total
from gnn_service.demo.machines.robot.pace import Place
from gnn_service.demo.plant import Array, Parameters
from gnn_service.physics.robot import resonance

TEST_PAYLOAD_KG = 150.0
BRAKE_TEST_SHARE = 1.5
"""The motor pushes against its brake with at most this share of the torque that the axis needs."""
ROCKING_HZ, ROCKING_SHARE = 2.0, 0.5
"""In the backlash test the motor rocks with this share of its friction."""
LEVERS_M = (2.5, 2.5, 1.5, 0.4, 0.45, 0.25)
"""From each axis to the tool in the accuracy test."""
BASE_ERROR_M, GAP_SHARE, WINDUP_SHARE = 2.0e-5, 0.02, 0.06
"""Repeat error (ISO 9283) of the rest of the arm; shares of backlash and of the twist that friction leaves."""
ARC_MINUTE = np.pi / 180 / 60


class TestBench:
    """Tests of B robots; holds the sums of the friction test in progress."""

    __test__ = False

    def __init__(self, size: int, step_s: float) -> None:
        self._sums = np.zeros((6, size))
        self._weight = step_s / (2.0 * STEADY_S)

    def take(self, parameters: Parameters, arm: Arm) -> None:
        """Results of the tests that depend on parameters alone."""

        def of(part: str, name: str) -> Array:
            return np.stack([parameters[f"j{joint + 1}_{part}.{name}"] for joint in JOINTS])

        holding = of("motor", "brake_holding")
        self._hold = 100.0 * holding
        self._push = np.minimum(holding, BRAKE_TEST_SHARE) * of("motor", "brake_need") / of("reducer", "ratio")
        gap = of("reducer", "backlash")
        self._gap = gap / ARC_MINUTE
        friction = of("reducer", "coulomb_friction")
        self._rock = ROCKING_SHARE * friction
        self._resonance = resonance(of("reducer", "stiffness")[4], arm.wrist_inertia(TEST_PAYLOAD_KG))
        windup = friction * of("reducer", "ratio") / of("reducer", "stiffness")
        levers = np.array(LEVERS_M)[:, None]
        error = (GAP_SHARE * gap * levers) ** 2 + (WINDUP_SHARE * windup * levers) ** 2
        self._repeat = 1e3 * np.sqrt(BASE_ERROR_M**2 + total(error))

    def torques(self, place: Place) -> Push | None:
        """Where a test sets the torque of each motor, and to what it sets or shifts it; None where none runs."""
        brake, backlash = (TABLES.test[name].take(place.segment) for name in ("brake", "backlash"))
        if not (brake.any() or backlash.any()):
            return None
        axis = TABLES.axis.take(place.segment)
        ramp = np.where(TABLES.report.take(place.segment), 1.0, place.share)
        swing = np.where(np.mod(place.into * ROCKING_HZ, 1.0) < 0.5, 1.0, -1.0)
        return [
            ((axis == joint) & (brake | backlash), np.where(brake, self._push[joint] * ramp, self._rock[joint] * swing))
            for joint in JOINTS
        ]

    def report(
        self,
        values: NDArray[np.float32],
        index: Mapping[str, int],
        place: Place,
        work: Work,
        wraps: NDArray[np.bool_],
    ) -> None:
        """Write the results (N, S, B) where they are known; elsewhere they are missing."""
        report, axis = TABLES.report.take(place.segment), TABLES.axis.take(place.segment)
        during = {name: table.take(place.segment) for name, table in TABLES.test.items()}
        for joint in JOINTS:
            here = report & (axis == joint)
            motor, reducer = f"j{joint + 1}_motor", f"j{joint + 1}_reducer"
            values[:, index[f"{motor}.brake_hold"]] = np.where(here & during["brake"], self._hold[joint], np.nan)
            values[:, index[f"{reducer}.backlash"]] = np.where(here & during["backlash"], self._gap[joint], np.nan)
        five = report & (axis == 4) & during["backlash"]
        values[:, index["j5_reducer.f_resonance"]] = np.where(five, self._resonance, np.nan)
        values[:, index["gripper.repeat_error"]] = np.where(report & during["accuracy"], self._repeat, np.nan)
        friction = [index[f"j{joint + 1}_reducer.i_friction"] for joint in JOINTS]
        if not during["friction"].any():
            for place_of in friction:
                values[:, place_of] = np.nan
            self._sums = np.where(wraps, 0.0, self._sums)
            return
        direction = TABLES.direction.take(place.segment) * self._weight
        for row in range(len(report)):
            self._sums = np.where(place.first[row], 0.0, self._sums)
            for joint in JOINTS:
                part = np.where(axis[row] == joint, direction[row] * work.current[joint][row], 0.0)
                self._sums[joint] += part
                shown = report[row] & (axis[row] == joint) & during["friction"][row]
                values[row, friction[joint]] = np.where(shown, self._sums[joint], np.nan)
