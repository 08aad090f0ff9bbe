"""What people do to a machine: inspections, repairs that help, repairs of the wrong part, and scheduled replacement."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

EventKind = Literal["onset", "failure", "repair", "wrong_repair", "scheduled", "sensor_fault"]

WRONG_REPAIR = 0.05


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a machine's life, at this operating hour.

    ``mode`` is the short id of the failure mode that it is about, ``action`` what was done; a wrong repair carries
    the action of another mode and changes nothing.
    """

    hour: float
    kind: EventKind
    mode: str
    component: str
    action: str = ""
    before: float = 0.0
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Maintenance:
    """When a machine is looked at and what is done.

    Args:
        inspection_h: hours between inspections.
        find: chance that an inspection finds a mode that has reached its service limit.
        wrong: chance that a repair is one of the wrong part.
        repair_failures: a functional failure is repaired at once, instead of ending the life.
        scheduled_h: modes whose part is replaced by time, such as filters: short id to hours.
    """

    inspection_h: float = 250.0
    find: float = 0.8
    wrong: float = WRONG_REPAIR
    repair_failures: bool = True
    scheduled_h: Mapping[str, float] = field(default_factory=dict)
