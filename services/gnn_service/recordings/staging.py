"""Folders that appear whole or not at all."""

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gnn_service.core.errors import InvalidInputError

_MADE_UP = "?" * 8
"""What `tempfile.mkdtemp` puts into a name."""


def require_free(target: Path, *, overwrite: bool = False) -> None:
    """Refuse to write a folder where a file stands, or where something is unless ``overwrite`` says to replace it.

    `staged_folder` asks by itself; before long work this asks early.
    """
    target = target.resolve()
    if target.exists() and not target.is_dir():
        raise InvalidInputError("a file stands where the folder is to be written; choose another", where=str(target))
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise InvalidInputError("this folder is not empty; choose another, or say --overwrite", where=str(target))


def require_writable(target: Path) -> None:
    """Refuse a place where no folder can be made, before long work finds out. InvalidInputError says why."""
    target = target.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)).rmdir()
    except OSError as error:
        raise InvalidInputError(f"cannot be written: {error.strerror}", where=str(target)) from error


@contextmanager
def staged_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its name when the block ends well.

    Any failure inside removes it and leaves ``target`` as it was. A target that already holds something is an
    InvalidInputError unless ``overwrite`` says to replace it; then what a killed writer of it left goes too.
    """
    target = target.resolve()
    if overwrite:
        remove_leftovers(target.parent, of=target.name)
    require_free(target, overwrite=overwrite)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    except OSError as error:
        raise InvalidInputError(f"cannot be written: {error.strerror}", where=str(target)) from error
    try:
        yield staged
        _swap(staged, target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


@contextmanager
def writing_to(target: Path) -> Iterator[None]:
    """Turn what the system says of files being written (no space, no right) into an InvalidInputError at ``target``."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise InvalidInputError(f"cannot be written: {reason}; nothing of it was kept", where=str(target)) from error


def remove_leftovers(folder: Path, *, of: str | None = None) -> None:
    """Remove what a writer that was killed left half-written in a folder, and put back what it was about to replace.

    ``of`` names the one folder in it whose writer that was; without it, whatever any writer left.
    """
    begins = "*" if of is None else f"{glob.escape(of)}.{_MADE_UP}"
    for left in folder.glob(f".{begins}.old"):
        _put_back(left)
    for left in folder.glob(f".{begins}.partial"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def write_text_whole(text: str, target: Path, *, overwrite: bool = False) -> None:
    """Write a text file whole or not at all; InvalidInputError where it cannot be, or is there already."""
    target = target.resolve()
    if target.exists() and not overwrite:
        raise InvalidInputError("this file is there already; choose another, or say --overwrite", where=str(target))
    staged = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.write_text(text, encoding="utf-8")
        staged.replace(target)
    except OSError as error:
        raise InvalidInputError(f"cannot be written: {error.strerror}", where=str(target)) from error
    finally:
        staged.unlink(missing_ok=True)


def _swap(staged: Path, target: Path) -> None:
    staged.chmod(0o777 & ~_umask())
    if not target.exists():
        staged.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
    target.rename(old / target.name)
    try:
        staged.rename(target)
    except OSError:
        (old / target.name).rename(target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _put_back(left: Path) -> None:
    """Give what a swap put aside its name again, if nothing has taken it, and remove the rest of the swap."""
    if not left.is_dir() or left.is_symlink():
        return
    aside = list(left.iterdir())
    if not all(left.name.startswith(f".{one.name}.") for one in aside):
        return  # not of a swap
    for one in aside:
        target = left.parent / one.name
        if not target.exists():
            one.rename(target)
    shutil.rmtree(left, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
