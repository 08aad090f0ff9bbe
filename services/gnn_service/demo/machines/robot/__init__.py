"""The six-axis industrial robot of the 210 kg class."""

from gnn_service.demo.machines.robot.capture import CAPTURES
from gnn_service.demo.machines.robot.duty import SHIFT
from gnn_service.demo.machines.robot.modes import MODES
from gnn_service.demo.machines.robot.plant import RobotPlant

PLANT = RobotPlant

__all__ = ["CAPTURES", "MODES", "PLANT", "SHIFT"]
