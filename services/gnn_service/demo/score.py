"""How often the service was right, component by component."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gnn_service.demo.feed import Replayed


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
                said = verdict.finding.level if verdict.finding else None
                tally.mistakes[verdict.truth.level or verdict.truth.mode.id, said or "another severity"] += 1

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
