"""How often the service was right, component by component."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gnn_service.demo.feed import FOUND, Replayed, TrueState, Verdict

HEALTHY = "healthy"


@dataclass(slots=True)
class Tally:
    """Verdicts on one component."""

    right: int = 0
    wrong: int = 0
    unknown: int = 0
    mistakes: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def judged(self) -> int:
        """Cycles in which its true state is known."""
        return self.right + self.wrong + self.unknown


class Score:
    """Counts verdicts as they come."""

    def __init__(self) -> None:
        self.cycles = 0
        self._components: dict[str, Tally] = {}

    @property
    def components(self) -> Mapping[str, Tally]:
        """Tallies by component, of those whose true state is known."""
        return self._components

    def add(self, replayed: Replayed) -> None:
        """Count one cycle."""
        self.cycles += 1
        for verdict in replayed.verdicts:
            if verdict.truth is None:
                continue
            tally = self._components.setdefault(verdict.diagnosis.component, Tally())
            if verdict.right is None:
                tally.unknown += 1
            elif verdict.right:
                tally.right += 1
            else:
                tally.wrong += 1
                tally.mistakes[_true(verdict.truth), _said(verdict)] += 1

    def as_json(self) -> dict[str, Any]:
        """What `demo --json` prints under ``components``."""
        return {
            component: {
                "right": tally.right,
                "wrong": tally.wrong,
                "unknown": tally.unknown,
                "accuracy": round(tally.right / tally.judged, 4) if tally.judged else None,
                "mistakes": [
                    {"true": true, "said": said, "times": times} for (true, said), times in tally.mistakes.most_common()
                ],
            }
            for component, tally in self._components.items()
        }


def _true(truth: TrueState) -> str:
    return truth.level or (truth.mode.id if truth.faulty else HEALTHY)


def _said(verdict: Verdict) -> str:
    """The level that was found where there are levels, else the most probable fault, if any is probable."""
    if verdict.truth is not None and verdict.truth.level is not None:
        return (verdict.finding.level if verdict.finding else None) or "another severity"
    found = [fault for fault in verdict.diagnosis.faults if fault.probability >= FOUND]
    return max(found, key=lambda fault: fault.probability).name if found else HEALTHY
