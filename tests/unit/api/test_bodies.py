"""The structure of a JSON body is counted as it is, whatever its texts hold."""

import json
import random
from typing import Any

import orjson
import pytest

from gnn_service.api import bodies
from gnn_service.api.bodies import check_members, members
from gnn_service.api.deps import parse_json
from gnn_service.api.schemas.diagnose import DiagnoseBody
from gnn_service.core.errors import BodyTooLargeError, InvalidInputError

SEED = 20_261_124
ODD = ['"', "\\", '\\"', ":", "{", "[", "a", "\\\\", "é", "\n", '":{['] * 2


def counted(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(counted, value.values()))
    return 1 + sum(map(counted, value)) if isinstance(value, list) else 0


def drawn(draw: random.Random, depth: int = 0) -> Any:
    text = "".join(draw.choices(ODD, k=draw.randrange(6)))
    match draw.randrange(5 if depth < 4 else 2):
        case 0:
            return text
        case 1:
            return draw.randrange(100)
        case 2 | 3:
            return {f"{text}{n}": drawn(draw, depth + 1) for n in range(draw.randrange(5))}
        case _:
            return [drawn(draw, depth + 1) for _ in range(draw.randrange(5))]


def test_objects_lists_and_members_are_counted_and_what_texts_hold_is_not():
    draw = random.Random(SEED)
    for _ in range(500):
        value = drawn(draw)
        assert members(orjson.dumps(value)) == counted(value)
        assert members(json.dumps(value, indent=1).encode()) == counted(value)  # escapes, and blanks between


def test_the_bound_is_what_is_documented(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bodies, "MEMBERS_MAX", 10)
    check_members(b"[" + b",".join([b"{}"] * 9) + b"]")
    check_members(b"[{},{},{}]")
    check_members(orjson.dumps([":{[" * 100]))
    with pytest.raises(BodyTooLargeError, match="over 10 objects"):
        parse_json(b"[" + b",".join([b"{}"] * 10) + b"]")


@pytest.mark.parametrize("path", ["/v1/diagnose", "/v1/commission"])
async def test_a_list_of_over_a_thousand_faults_is_not_made(http: Any, path: str):
    answer = await http.post(path, json={f"k{number}": 1 for number in range(1001)})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("1003 places in the body do not fit")
    assert "errors" not in answer.json()


def test_the_lane_makes_no_list_of_over_a_thousand_faults_either():
    with pytest.raises(InvalidInputError, match="1003 places in the body"):
        bodies.validate(DiagnoseBody, {f"k{number}": 1 for number in range(1001)})
