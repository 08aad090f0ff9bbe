"""The written reference says what the code does."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from gnn_service.api.problems import CODES
from gnn_service.core.errors import GnnServiceError


def tree(kind: type[GnnServiceError]) -> Iterator[type[GnnServiceError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


def test_every_problem_code_is_listed_with_its_status(root: Path):
    text = (root / "docs/reference/http.md").read_text(encoding="utf-8")
    listed = {
        (code, int(status))
        for codes, status in re.findall(r"^\| (`.*`) \| (\d{3}) \|", text, re.MULTILINE)
        for code in re.findall(r"`([^`]+)`", codes)
    }
    own = {(kind.code, kind.status) for kind in tree(GnnServiceError)}
    assert listed == own | {(code, status) for status, code in CODES.items()}


async def test_every_route_is_listed(root: Path, http: httpx2.AsyncClient):
    text = (root / "docs/reference/http.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(GET|POST|PUT|DELETE) (\S+)` \|", text, re.MULTILINE))
    paths: Any = (await http.get("/openapi.json")).json()["paths"]
    assert listed == {(method.upper(), path) for path, methods in paths.items() for method in methods}
