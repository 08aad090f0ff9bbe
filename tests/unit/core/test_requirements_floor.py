"""The oldest supported versions are written down once to be installed, once as bounds of the package."""

import re
import tomllib

import pytest


def versions(lines, operator):
    """{name: (version, marker)}; bounds of any other form fail. An upper bound may stand beside a lower one."""
    found = {}
    for line in lines:
        parts = re.fullmatch(rf"([a-z0-9-]+){operator}([0-9.]+)(?:,<[0-9.]+)?(?:; *(.+))?", line)
        assert parts, f"not of the form name{operator}version: {line}"
        version = re.sub(r"(\.0)+$", "", parts[2])  # 2.9 is 2.9.0
        assert parts[1] not in found
        found[parts[1]] = (version, parts[3])
    return found


@pytest.fixture
def header_and_floor(root):
    lines = (root / "services/gnn_service/requirements-2025.txt").read_text(encoding="utf-8").splitlines()
    header = " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    return header, versions([line for line in lines if line and not line.startswith("#")], "==")


def test_the_lower_bounds_of_the_package_are_the_floor(root, header_and_floor):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for name in extras for line in extras[name])]
    assert versions(lines, ">=") == header_and_floor[1]


@pytest.mark.parametrize(
    "name, series",
    [
        ("torch", "2.5.1"),
        ("pydantic", "2."),
        ("fastapi", "0.115"),
        ("opentelemetry-sdk", "1.28"),
        ("asyncpg", "0.30"),
        ("sqlalchemy", "2"),
    ],
)
def test_the_floor_is_the_one_that_was_promised(name, series, header_and_floor):
    assert header_and_floor[1][name][0].startswith(series)


def test_the_header_says_where_cuda_comes_from(header_and_floor):
    header = header_and_floor[0]
    for fact in ("CUDA 12.4 libraries", "CUDA 12.6", "https://download.pytorch.org/whl/cu126"):
        assert fact in header
