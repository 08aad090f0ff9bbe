"""The documentation says what is there: links, commands, targets, dependencies and decisions."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
WRITTEN = re.compile(r"""["']([\w-]+\.md)["']""")
MENTIONED = re.compile(r"[\w./-]*\w\.md\b")
TARGETS = {"help", "install", "demo", "test", "torture", "floor", "lint", "types", "model", "bench", "lock", "clean"}


def kept_files() -> list[Path]:
    """What a clone would hold: tracked files, and new ones that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in sorted(filter(None, listed.stdout.split("\0"))) if (path := ROOT / name).is_file()]


def pages() -> list[Path]:
    return [path for path in kept_files() if path.suffix == ".md"]


def test_every_relative_link_leads_to_a_file():
    broken = []
    for page in pages():
        targets = (target.partition("#")[0] for target in LINK.findall(page.read_text()) if "://" not in target)
        broken += [f"{page.relative_to(ROOT)}: {t}" for t in targets if t and not (page.parent / t).exists()]
    assert not broken


def test_a_page_that_the_code_mentions_exists_or_is_written_by_it():
    sources = {path: path.read_text() for path in kept_files() if path.suffix in {".py", ".toml", ".txt"}}
    known = {path.name for path in pages()}.union(*(WRITTEN.findall(text) for text in sources.values()))
    missing = [
        f"{path.relative_to(ROOT)}: {hit}"
        for path, text in sources.items()
        for hit in MENTIONED.findall(text)
        if Path(hit).name not in known
    ]
    assert not missing


def test_every_command_that_a_page_shows_exists():
    from gnn_service.cli.main import COMMANDS

    wrong = []
    for page in pages():
        text = page.read_text()
        commands = re.findall(r"gnn-service +([a-z]+)", text)
        targets = re.findall(r"(?:`|^)(?:[A-Z_]+=\S+ )?make +([a-z]+)", text, re.MULTILINE)
        wrong += [f"{page.relative_to(ROOT)}: {name}" for name in set(commands) - COMMANDS.keys()]
        wrong += [f"{page.relative_to(ROOT)}: make {name}" for name in set(targets) - TARGETS]
    assert not wrong


def test_make_help_explains_every_target_that_people_type():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True).stdout
    assert set(re.findall(r"^  make (\w+) +\S", shown, re.MULTILINE)) == TARGETS


def test_every_dependency_has_its_reason_and_every_reason_its_dependency():
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*table["project"]["dependencies"], *table["dependency-groups"]["dev"]]
    wanted += [text for extra in table["project"]["optional-dependencies"].values() for text in extra]
    record = (ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text()
    reasons = set(re.findall(r"^\| ([a-z0-9-]+) \| \S", record, re.MULTILINE)) - {"package"}
    assert reasons == {Requirement(text).name for text in wanted}


def test_every_decision_has_its_number_once_its_sections_and_its_line_in_the_index():
    records = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    index = (ROOT / "docs" / "README.md").read_text()
    for path in records:
        sections = re.findall(r"^## (\w+)$", path.read_text(), re.MULTILINE)
        assert sections == ["Status", "Context", "Decision", "Consequences", "Alternatives"], path.name
        assert f"decisions/{path.name}" in index
