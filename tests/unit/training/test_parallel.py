"""Folds side by side find what they find one after the other."""

import signal
import subprocess
import sys
import time
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import psutil
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.training.crossval import Fold, Options, run_fold
from gnn_service.training.loop import Recipe
from gnn_service.training.parallel import Say, map_folds
from gnn_service.training.partition import partition, reserved_for_commissioning
from gnn_service.training.scoring import scored_modes
from tests.support.folds import square
from tests.support.rig import TINY, one_thread, rig_split, rig_windows


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_progress_is_heard_and_an_error_of_ours_comes_as_it_is(workers):
    told: list[tuple[str, int, int]] = []
    results = map_folds(square, [3, 1, 2, -1], workers, lambda *line: told.append(line))
    assert [next(results) for _ in range(3)] == [9, 1, 4]
    with pytest.raises(InvalidInputError, match="task -1: give a number that is not negative") as caught:
        next(results)
    assert (caught.value.where, caught.value.detail) == ("task -1", "give a number that is not negative")
    assert sorted(told) == [("squaring", k, 3) for k in (-1, 1, 2, 3)]


def test_a_single_task_needs_no_other_process_and_nobody_has_to_listen():
    def doubled(task: int, say: Say) -> int:
        say("doubling", 1, 1)
        return 2 * task

    # A function inside a function could not be sent anywhere.
    assert list(map_folds(doubled, [5], 4, None)) == [10]


def sent(value: Any) -> Any:
    """As it arrives in another process."""
    return ForkingPickler.loads(ForkingPickler.dumps(value))


def test_a_fold_and_what_it_found_survive_the_way_to_another_process():
    windows = rig_windows()
    reserved = reserved_for_commissioning(windows, 3)
    part = partition(windows, rig_split(), reserved)
    options = Options(Recipe(epochs=1, batch_size=32), architecture=TINY)
    fold = Fold("fold", part, windows.take(reserved), scored_modes(part.test), options)
    with one_thread():
        here, there = run_fold(fold, lambda *_: None), sent(run_fold(sent(fold), lambda *_: None))
    assert len(here.rows) == len(there.rows) == 11
    for one, two in zip(here.rows, there.rows, strict=True):
        assert (one.predictor, one.component, one.cycles.tolist()) == (
            two.predictor,
            two.component,
            two.cycles.tolist(),
        )
        assert np.abs(one.probabilities - two.probabilities).max() < 1e-6
    assert there.asked[0].anomalies() == pytest.approx(here.asked[0].anomalies(), abs=1e-6)


def test_a_killed_parent_leaves_no_worker_behind(tmp_path, root):
    files = [tmp_path / "one", tmp_path / "two"]
    code = (
        "from pathlib import Path\n"
        "from gnn_service.training.parallel import map_folds\nfrom tests.support.folds import linger\n"
        "if __name__ == '__main__': list(map_folds(linger, [Path(a) for a in sys.argv[1:]], 2, None))"
    )
    script = tmp_path / "run.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(root)!r})\n{code}\n")
    parent = subprocess.Popen([sys.executable, str(script), *map(str, files)])
    wait_until(lambda: all(f.exists() and f.read_text() for f in files))
    workers = [int(f.read_text()) for f in files]
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in workers))


def wait_until(done):
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)
