"""The six-axis robot as a plant: groups of robots that move on one after the other."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from gnn_service.demo.machines.robot.duty import PHASES, SITE, STATES
from gnn_service.demo.machines.robot.group import Group, Out
from gnn_service.demo.machines.robot.ledger import LEDGER
from gnn_service.demo.plant import Entry, Frames, Parameters, Plant, Schedule, Setting, SiteFactor
from gnn_service.domain.shipped import shipped_machine

GROUP = 256
"""Robots that are computed together."""


class RobotPlant(Plant):
    """Six-axis handling robots, quasi-steady: scripted motion, rigid-body torques, friction, drives, heat and air.

    A robot that changes its operating state first finishes the cycle that it is in.
    """

    STEP_S: ClassVar[float] = 0.05
    STATES: ClassVar[tuple[str, ...]] = STATES
    PHASES: ClassVar[tuple[str, ...]] = PHASES
    SITE: ClassVar[Mapping[str, SiteFactor]] = SITE
    LEDGER: ClassVar[tuple[Entry, ...]] = LEDGER

    def __init__(self, setting: Setting) -> None:
        self._size = setting.size
        self._slices = [slice(start, start + GROUP) for start in range(0, setting.size, GROUP)]
        site = {
            name: np.asarray(setting.site.get(name, np.full(setting.size, factor.default)), dtype=np.float64)
            for name, factor in SITE.items()
        }
        self._groups = [
            Group(
                setting.keys[part],
                _part(setting.parameters, part),
                _part(site, part),
                Schedule(setting.schedule.starts_s[part], setting.schedule.states[part]),
                self.STEP_S,
            )
            for part in self._slices
        ]

    def set_parameters(self, parameters: Parameters) -> None:
        """Take over changed physical parameters, from the next step on; temperatures stay."""
        for part, group in zip(self._slices, self._groups, strict=True):
            group.set_parameters(_part(parameters, part))

    def settle(self) -> None:
        """Temperatures of lasting production; those of the hall where the schedule begins with a cold start."""
        for group in self._groups:
            group.settle()

    def advance(self, steps: int, *, ledger: bool = False) -> Frames:
        """Move on by a number of steps of `STEP_S` and tell what was seen in each."""
        shape, sensors = (steps, self._size), len(shipped_machine("robot").sensors)
        frames = Frames(
            np.empty((steps, sensors, self._size), dtype=np.float32),
            np.empty(shape, dtype=np.int8),
            np.empty(shape, dtype=np.int8),
            np.empty(shape, dtype=np.int32),
            np.empty((steps, len(LEDGER), self._size)) if ledger else None,
        )
        for part, group in zip(self._slices, self._groups, strict=True):
            entries = frames.ledger[:, :, part] if frames.ledger is not None else None
            out = Out(
                frames.values[:, :, part], frames.state[:, part], frames.phase[:, part], frames.cycle[:, part], entries
            )
            group.advance(steps, out)
        return frames


def _part(arrays: Parameters, part: slice) -> Parameters:
    return {name: np.ascontiguousarray(values[part]) for name, values in arrays.items()}
