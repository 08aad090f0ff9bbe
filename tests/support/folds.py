"""Work for other processes; a module of its own, because each of them imports it."""

import os
import time
from pathlib import Path

from gnn_service.core.errors import InvalidInputError
from gnn_service.training.parallel import Say


def square(task: int, say: Say) -> int:
    """The square of a number that is not negative."""
    say("squaring", task, 3)
    if task < 0:
        raise InvalidInputError("give a number that is not negative", where=f"task {task}")
    return task * task


def linger(task: Path, say: Say) -> None:
    """Leave the process id in a file, and stay for a minute."""
    task.write_text(str(os.getpid()))
    time.sleep(60)
