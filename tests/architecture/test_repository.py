"""The repository as a newcomer gets it: no machine of ours in it, and locks that fit."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("runtime.txt", "dev.txt")
# A folder that exists on one person's machine, or on one company's network.
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:home|Users|root|work|farm|mnt)/(?!someone\b)[\w.-]+")
INDEX = re.compile(r"(?:--(?:extra-)?index-url|--find-links|https?://|file:/)")


def kept_files() -> list[Path]:
    """What a clone would hold: tracked files, and new ones that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in sorted(filter(None, listed.stdout.split("\0"))) if (path := ROOT / name).is_file()]


def texts() -> list[tuple[Path, str]]:
    found = []
    for path in kept_files():
        try:
            found.append((path, path.read_text("utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def pins(lock: str) -> dict[str, Requirement]:
    lines = (ROOT / "requirements" / lock).read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith(("#", "-r "))]
    return {canonicalize_name(requirement.name): requirement for requirement in wanted}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_no_file_names_a_folder_of_somebodys_machine():
    found = [f"{path.relative_to(ROOT)}: {hit}" for path, text in texts() for hit in MACHINE_PATH.findall(text)]
    assert not found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_exact_public_versions_and_no_index(lock: str):
    text = "\n".join(x for x in (ROOT / "requirements" / lock).read_text().splitlines() if not x.startswith("#"))
    assert not INDEX.search(text)
    assert "--hash" not in text
    for requirement in pins(lock).values():
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        assert "+" not in specifier.version, requirement
        assert "*" not in specifier.version, requirement


def test_the_locks_satisfy_the_package():
    runtime, dev = pins("runtime.txt"), pins("dev.txt")
    table = project()
    wanted = [(text, runtime) for text in table["project"]["dependencies"]]
    wanted += [(text, runtime | dev) for text in table["project"]["optional-dependencies"]["train"]]
    wanted += [(text, runtime | dev) for text in table["dependency-groups"]["dev"]]
    for text, lock in wanted:
        requirement = Requirement(text)
        pinned = lock.get(canonicalize_name(requirement.name))
        assert pinned is not None, f"{text} is in no lock"
        (specifier,) = pinned.specifier
        assert requirement.specifier.contains(specifier.version), f"{text}, but the lock has {pinned}"


def test_what_runs_has_no_torch_and_the_locks_do_not_overlap():
    runtime, dev = pins("runtime.txt"), pins("dev.txt")
    assert "torch" not in runtime
    assert "torch" in dev
    assert not runtime.keys() & dev.keys()
