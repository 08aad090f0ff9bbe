"""The server's own settings: for a small machine that does other work, too."""

from pathlib import Path

import psutil

_MIB = 2**20
_CGROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))

INCLUDE = "gnn-service.conf"
_HEAD = """\
# Written by gnn-service at every start: change nothing here. What stands in postgresql.conf below the line that
# includes this file wins over it, and so does what ALTER SYSTEM sets.
"""


def memory_bytes() -> int:
    """Memory that this process may use: of the machine, or of its container where that is less."""
    limits = [psutil.virtual_memory().total]
    for path in _CGROUP:
        try:
            limits.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such limit, or "max"
            continue
    return min(limits)


def tuned(memory: int, connections: int) -> dict[str, str]:
    """PostgreSQL settings for a machine of ``memory`` bytes of which the database is to take a small part."""
    shared = min(max(memory // 8, 32 * _MIB), 1024 * _MIB)
    return {
        "max_connections": f"{connections}",
        "shared_buffers": f"{shared // _MIB}MB",
        "effective_cache_size": f"{max(memory // 2, 64 * _MIB) // _MIB}MB",
        "work_mem": f"{min(max(memory // 256, 4 * _MIB), 16 * _MIB) // _MIB}MB",
        "maintenance_work_mem": f"{min(max(memory // 32, 16 * _MIB), 256 * _MIB) // _MIB}MB",
        "autovacuum_max_workers": "2",
        "max_wal_size": "1GB",
        "min_wal_size": "80MB",
        "checkpoint_timeout": "15min",
        "wal_compression": "on",
        "random_page_cost": "1.1",  # solid-state disks
        "jit": "off",  # short statements; the package has no LLVM
        "timezone": "'UTC'",
        "log_timezone": "'UTC'",
        "password_encryption": "'scram-sha-256'",
        "log_line_prefix": "'%m [%p] %q%u@%d %a '",
        "log_checkpoints": "off",
        "log_min_duration_statement": "5s",
        "log_temp_files": "64MB",
    }


def write(folder: Path, connections: int) -> None:
    """Write the settings for this machine into a file that everybody may read."""
    path = folder / INCLUDE
    settings = tuned(memory_bytes(), connections)
    path.write_text(_HEAD + "".join(f"{name} = {value}\n" for name, value in settings.items()), encoding="ascii")
    path.chmod(0o644)
