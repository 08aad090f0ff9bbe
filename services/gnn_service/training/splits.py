"""Splits that never cut a group.

A group (a block of one label state, a run, a machine) is the unit of independence: windows of one group are near
copies of each other, so a group in two parts leaks its labels from training into the score. Balance over the label
levels is greedy, in windows, with seeded restarts; it is `StratifiedGroupKFold` of scikit-learn for several tasks
at once, with the additional promise that training sees every level that can be seen.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError

FORMAT: Final = "gnn-service/splits/1"
RESTARTS: Final = 16
PARTS: Final = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Split:
    """Group ids of each part, sorted; no id in two parts.

    ``commissioning`` holds the ids of single windows (cycles), not groups: those that made a baseline, which are not
    scored wherever they lie. ``set_aside`` holds the groups that are in no part, because something is learned from
    such cycles of theirs.
    """

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    commissioning: tuple[str, ...] = ()
    set_aside: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in (*PARTS, "commissioning", "set_aside"):
            object.__setattr__(self, part, tuple(sorted(str(group) for group in getattr(self, part))))
        seen = (*self.train, *self.validation, *self.test, *self.set_aside)
        if len(set(seen)) != len(seen):
            twice = sorted({group for group in seen if seen.count(group) > 1})
            raise InvalidInputError(
                f"group {twice[0]!r} is in more than one part; a group stays whole", where=self.name
            )

    def part_of(self, groups: NDArray[Any]) -> NDArray[np.str_]:
        """The part of each row's group, (N,): train, validation, test, or '' where the split leaves it out."""
        where = {group: part for part in PARTS for group in getattr(self, part)}
        return np.array([where.get(str(group), "") for group in groups], dtype=np.str_)

    def setting_aside(self, groups: Collection[str], commissioning: Collection[str] = ()) -> "Split":
        """The split with these groups in no part, whole, and the windows among them that make the baseline."""
        train, validation, test = (tuple(g for g in getattr(self, part) if g not in groups) for part in PARTS)
        return Split(self.name, train, validation, test, tuple(commissioning), (*self.set_aside, *groups))

    def to_json(self) -> dict[str, Any]:
        """JSON-able, lists of ids in sorted order; ``set_aside`` where there are any."""
        lists = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {key: value for key, value in lists.items() if key != "set_aside" or value}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``; raises InvalidInputError where the document is not one."""
        ids = {part: document.get(part, []) for part in (*PARTS, "commissioning", "set_aside")}
        if not isinstance(document.get("name"), str) or not all(isinstance(value, list) for value in ids.values()):
            raise InvalidInputError("a split needs a name and lists of group ids; write it with write_splits")
        return cls(document["name"], **{part: tuple(value) for part, value in ids.items()})

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON: the same ids in the same parts under the same name give the same hash."""
        return _digest(self.to_json())


def splits_sha256(splits: Sequence[Split]) -> str:
    """One hash for a whole protocol, over its splits in order."""
    return _digest([split.to_json() for split in splits])


def write_splits(path: Path, splits: Sequence[Split]) -> str:
    """Write splits as JSON with their hash, and return the hash."""
    digest = splits_sha256(splits)
    document = {"format": FORMAT, "sha256": digest, "splits": [split.to_json() for split in splits]}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return digest


def read_splits(path: Path) -> list[Split]:
    """Read what ``write_splits`` wrote; raises InvalidInputError where ids and hash disagree."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot be read as JSON: {error}", where=str(path)) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InvalidInputError(f"is not a file of splits; expected format {FORMAT}", where=str(path))
    splits = [Split.from_json(item) for item in document.get("splits", [])]
    if splits_sha256(splits) != document.get("sha256"):
        raise InvalidInputError("ids and hash disagree: the file was changed after it was written", where=str(path))
    return splits


def group_folds(
    groups: NDArray[Any],
    labels: NDArray[np.integer[Any]],
    k: int,
    seed: int,
    validation_fraction: float = 0.15,
) -> list[Split]:
    """K splits in which every group is tested exactly once.

    ``groups`` (N,) names each window's group; ``labels`` (N, tasks) holds levels, negative = not known. Every level
    of every task that occurs in two groups or more occurs in every split's training part.
    Raises InvalidInputError where there are fewer groups than folds, or no such assignment is found.
    """
    names, counts = _tally(groups, labels)
    _check_fraction(validation_fraction)
    if k < 2:
        raise InvalidInputError(f"{k} folds: at least 2 are needed")
    if len(names) < k:
        raise InvalidInputError(f"{len(names)} groups cannot make {k} folds; use at most {len(names)} folds")
    shares = np.full(k, 1 / k)
    fold = _assign(counts, shares, np.random.default_rng([seed, k]))
    splits = []
    for index in range(k):
        rest = np.flatnonzero(fold != index)
        train, validation = _spare(names[rest], counts[rest], validation_fraction, seed)
        splits.append(Split(f"fold-{index}", train, validation, tuple(names[fold == index])))
    return splits


def hold_out(
    values: NDArray[Any],
    groups: NDArray[Any],
    *,
    labels: NDArray[np.integer[Any]] | None = None,
    key: str = "value",
    seed: int = 0,
    validation_fraction: float = 0.15,
) -> list[Split]:
    """One split a distinct value of a truth column, in order of value: that value is tested, training never saw it.

    ``values`` and ``groups`` are (N,); ``labels`` (N, tasks) balances the validation groups taken from the rest.
    Splits are named ``key=value``. Raises InvalidInputError where a group holds two values, or there is one value.
    """
    if len(values) != len(groups):
        raise InvalidInputError(f"{len(values)} values for {len(groups)} windows; give one for each")
    _check_fraction(validation_fraction)
    if missing := sum(value is None for value in values):
        raise InvalidInputError(f"{missing} windows have no {key} in the truth; every window needs one to be held out")
    tasks = np.full((len(groups), 1), -1) if labels is None else labels
    names, counts = _tally(groups, tasks)
    distinct, value_index = np.unique(values, return_inverse=True)
    if len(distinct) < 2:
        raise InvalidInputError(f"holding out needs two values or more; all windows have the same {key}")
    row_group = np.searchsorted(names, np.asarray(groups).astype(np.str_))
    value_of = np.zeros(len(names), dtype=np.intp)
    value_of[row_group] = value_index
    if (mixed := value_of[row_group] != value_index).any():
        group = str(names[row_group[mixed][0]])
        raise InvalidInputError(f"group {group!r} holds more than one {key}; a group that is cut cannot be held out")
    splits = []
    for index, value in enumerate(distinct):
        rest = np.flatnonzero(value_of != index)
        train, validation = _spare(names[rest], counts[rest], validation_fraction, seed)
        splits.append(Split(f"{key}={value}", train, validation, tuple(names[value_of == index])))
    return splits


def train_validation_test(
    groups: NDArray[Any],
    labels: NDArray[np.integer[Any]],
    fractions: tuple[float, float, float],
    seed: int,
    *,
    name: str = "train-validation-test",
) -> Split:
    """One split in the given fractions of windows (train, validation, test; each above 0, sum 1).

    ``groups`` (N,), ``labels`` (N, tasks), negative = not known. Every level occurs in training.
    """
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise InvalidInputError(f"fractions {fractions} must each be above 0 and sum to 1")
    names, counts = _tally(groups, labels)
    if len(names) < 3:
        raise InvalidInputError(f"{len(names)} groups cannot fill three parts; at least 3 are needed")
    part = _assign(counts, np.array(fractions), np.random.default_rng([seed, 3]), train_part=0)
    return Split(name, *(tuple(names[part == index]) for index in range(3)))


def _digest(document: object) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _check_fraction(fraction: float) -> None:
    if not 0 <= fraction < 1:
        raise InvalidInputError(f"validation fraction {fraction} must be in [0, 1)")


def _tally(groups: NDArray[Any], labels: NDArray[np.integer[Any]]) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Sorted group ids (G,), and windows per group and level of any task (G, levels of all tasks)."""
    table = np.asarray(labels)
    if table.ndim == 1:
        table = table[:, None]
    if len(groups) == 0:
        raise InvalidInputError("there are no windows to split")
    if table.ndim != 2 or len(table) != len(groups):
        raise InvalidInputError(f"labels {np.shape(labels)} must be (windows, tasks) for {len(groups)} windows")
    names, row_group = np.unique(np.asarray(groups).astype(np.str_), return_inverse=True)
    holders = [row_group[task == level] for task in table.T for level in np.unique(task[task >= 0])]
    columns = [np.bincount(rows, minlength=len(names)) for rows in (*holders, row_group)]
    return names, np.stack(columns, axis=1).astype(np.int64)


def _spare(
    names: NDArray[np.str_], counts: NDArray[np.int64], fraction: float, seed: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training and validation groups; training keeps every level."""
    if fraction == 0:
        return tuple(names), ()
    if len(names) < 2:
        raise InvalidInputError("one group is left beside the test part: none can be spared for validation")
    part = _assign(counts, np.array([1 - fraction, fraction]), np.random.default_rng([seed, 2]), train_part=0)
    return tuple(names[part == 0]), tuple(names[part == 1])


def _assign(
    counts: NDArray[np.int64],
    shares: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    train_part: int | None = None,
) -> NDArray[np.intp]:
    """The part of each group (G,): the best balanced of some seeded greedy passes that keep every promise.

    With ``train_part`` every level occurs in that part. Without, parts are folds: no
    level that has two groups or more lies in one fold alone.
    """
    counts = counts[:, counts.any(0)]
    best: tuple[float, NDArray[np.intp]] | None = None
    for _ in range(RESTARTS):
        part = _greedy(counts, shares, rng, train_part)
        if part is None or len(np.unique(part)) < len(shares):
            continue
        cost = float(_imbalance(_filled(counts, part, len(shares)), counts.sum(0), shares).sum())
        if best is None or cost < best[0]:
            best = cost, part
    if best is None:
        raise InvalidInputError(
            f"no way was found to part {len(counts)} groups in {len(shares)} and keep every level in training; "
            "use fewer parts or record more groups"
        )
    return best[1]


def _greedy(
    counts: NDArray[np.int64],
    shares: NDArray[np.float64],
    rng: np.random.Generator,
    train_part: int | None,
) -> NDArray[np.intp] | None:
    """Place groups one by one, those with rare levels first, each where it unbalances least; None on a dead end."""
    total = counts.sum(0)
    present = counts > 0
    part = np.full(len(counts), -1, np.intp)
    rarity = (counts / total).max(1)
    shuffled = rng.permutation(len(counts))
    order = shuffled[np.argsort(-rarity[shuffled], kind="stable")]
    filled = _filled(counts, part, len(shares))
    for group in order:
        allowed = _allowed(present, part, group, len(shares), train_part)
        if not allowed.any():
            return None
        rise = _imbalance(filled + counts[group], total, shares) - _imbalance(filled, total, shares)
        chosen = int(np.argmin(np.where(allowed, rise, np.inf)))
        part[group] = chosen
        filled[chosen] += counts[group]
    for empty in sorted(set(range(len(shares))) - set(part.tolist())):
        _lend(present, counts[:, -1], part, empty, train_part)
    return part


def _lend(
    present: NDArray[np.bool_],
    sizes: NDArray[np.int64],
    part: NDArray[np.intp],
    empty: int,
    train_part: int | None,
) -> None:
    """Give an empty part the smallest group that its part can spare; few and large groups need it."""
    spare = np.bincount(part)[part] > 1
    if train_part is not None:
        held = present[part == train_part].sum(0)
        spare &= (part != train_part) | ~(present & (held == 1)).any(1)
    if spare.any():
        part[np.argmin(np.where(spare, sizes, np.iinfo(np.int64).max))] = empty


def _allowed(
    present: NDArray[np.bool_], part: NDArray[np.intp], group: int, parts: int, train_part: int | None
) -> NDArray[np.bool_]:
    """Parts (P,) into which a group may go without breaking the promise on levels."""
    allowed = np.ones(parts, dtype=bool)
    waiting = part < 0
    for level in np.flatnonzero(present[group]):
        holders = present[:, level]
        if (holders & waiting).sum() > 1:
            continue
        placed = np.unique(part[holders & ~waiting])
        if train_part is None:
            if len(placed) == 1:
                allowed[placed[0]] = False
        elif train_part not in placed:
            allowed[np.arange(parts) != train_part] = False
    return allowed


def _filled(counts: NDArray[np.int64], part: NDArray[np.intp], parts: int) -> NDArray[np.int64]:
    """Windows per part and level, (P, levels)."""
    return np.stack([counts[part == index].sum(0) for index in range(parts)])


def _imbalance(filled: NDArray[np.int64], total: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distance of each part from its share, summed over levels weighed alike, (P,)."""
    wanted = shares[:, None] * total
    excess: NDArray[np.float64] = ((filled - wanted) ** 2 / (shares[:, None] * total.astype(np.float64) ** 2)).sum(1)
    return excess
