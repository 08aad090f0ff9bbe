"""Alarms: episodes in the states of ISA-18.2 (ANSI/ISA-18.2-2016, figure 3)."""

from enum import StrEnum


class AlarmState(StrEnum):
    """Where an episode stands. ``rtn`` is short for return to normal: the cause is gone, nobody has seen it yet."""

    ACTIVE_UNACK = "active_unack"
    ACTIVE_ACK = "active_ack"
    RTN_UNACK = "rtn_unack"
    NORMAL = "normal"
    SHELVED = "shelved"
    SUPPRESSED = "suppressed"
    OUT_OF_SERVICE = "out_of_service"


class Priority(StrEnum):
    """How soon somebody must act."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"
