"""Injection moulding machine of the 5 000 kN class: servo pumps, accumulator, toggle clamp, screw and barrel."""

from gnn_service.demo.machines.moulding.capture import CAPTURES
from gnn_service.demo.machines.moulding.duty import SHIFT
from gnn_service.demo.machines.moulding.modes import MODES
from gnn_service.demo.machines.moulding.plant import MouldingPlant

PLANT = MouldingPlant

__all__ = ["CAPTURES", "MODES", "PLANT", "SHIFT"]
