"""Requests of a known outline are read as if they were read in full, whatever stands where the numbers were."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnn_service.api.oip import outline
from gnn_service.api.oip.codec import parse
from gnn_service.core.errors import GnnServiceError
from gnn_service.inference.tensors import TensorSpec
from tests.support.oip import F4, I8, good, view

PADDING = {"note": "x" * 1200}
"""A parameter that nobody asks for, so that the request is long enough to be worth an outline."""


def text(**changes: object) -> bytes:
    return orjson.dumps(good() | {"parameters": PADDING} | changes)


def outcome(body, model):
    """All that reading a request gives, or how it is refused."""
    try:
        request = parse(body, None, model)
    except GnnServiceError as error:
        return type(error), str(error)
    arrays = {name: (array.dtype, array.tolist()) for name, array in request.arrays.items()}
    return request.id, arrays, request.batch, request.outputs, request.timeout_s


def learnt(*bodies: bytes):
    """A model that has read these before."""
    model = view()
    for body in bodies:
        parse(body, None, model)
    return model


def test_the_second_request_of_an_outline_is_read_by_it(monkeypatch: pytest.MonkeyPatch):
    model = learnt(text())
    assert len(model.outlines) == 1
    second = good()
    second["inputs"][0]["data"] = [n / 4 for n in range(12)]
    monkeypatch.setattr("gnn_service.api.oip.codec.document", None)  # nothing is read in full
    request = parse(orjson.dumps(second | {"parameters": PADDING}), None, model)
    assert request.arrays["x"].ravel().tolist() == [n / 4 for n in range(12)]
    assert request.arrays["i"].tolist() == [[1, 2], [3, -4]]
    assert request.batch == 2


def test_spaces_as_pythons_own_json_has_them_make_an_outline_too():
    assert len(learnt(json.dumps(good() | {"parameters": PADDING}).encode()).outlines) == 1


@pytest.mark.parametrize("changes", [{"id": "7"}, {"inputs": "nested"}, {"parameters": PADDING | {"data": [1]}}])
def test_what_may_be_mistaken_is_not_learnt(changes: dict[str, object]):
    request = good() | {"parameters": PADDING}
    if changes == {"inputs": "nested"}:
        request["inputs"][1]["data"] = [[1, 2], [3, -4]]
    else:
        request |= changes
    assert not learnt(orjson.dumps(request)).outlines


def of_data():
    """A model whose inputs are called ``data`` and ``i``."""
    return view(TensorSpec("data", F4, ("batch", "n", 3)), TensorSpec("i", I8, ("batch", "n")))


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("spaced", [False, True])
def test_an_input_called_data_has_an_outline_too(place: int, spaced: bool, monkeypatch: pytest.MonkeyPatch):
    def written(request):
        return json.dumps(request).encode() if spaced else orjson.dumps(request)

    request = good() | {"parameters": PADDING}
    request["inputs"][0]["name"] = "data"
    request["inputs"].insert(place, request["inputs"].pop(0))
    model = of_data()
    parse(written(request), None, model)
    assert len(model.outlines) == 1
    request["inputs"][place]["data"] = [n / 4 for n in range(12)]
    monkeypatch.setattr("gnn_service.api.oip.codec.document", None)  # nothing is read in full
    assert parse(written(request), None, model).arrays["data"].ravel().tolist() == [n / 4 for n in range(12)]


def test_an_outline_keeps_a_bounded_place():
    model = view()
    for number in range(200):
        parse(orjson.dumps(good() | {"parameters": PADDING | {"n": number}}), None, model)
    assert len(model.outlines) <= outline._OUTLINES_MAX


SNIPPETS = st.sampled_from(
    [b"[", b"]", b"[1]", b",", b'"', b'"data":[', b'"data": [1', b"null", b"true", b"1e400", b"1.5", b"-4", b"\\", b"{",
     b"}", b"[[1,2],[3,4]]", b"NaN", b"9" * 25, b" ", b"\0", b'"]"', b"[9],[1]", b"0.125", b"\xff"]
)  # fmt: skip


@given(
    edits=st.lists(
        st.tuples(st.integers(0, 420), st.integers(0, 12), st.binary(max_size=3) | SNIPPETS), min_size=1, max_size=3
    )
)
def test_a_changed_request_ends_as_without_an_outline(edits: list[tuple[int, int, bytes]]):
    model = learnt(text())
    body = text()
    for at, length, written in edits:
        body = body[:at] + written + body[at + length :]
    assert outcome(body, model) == outcome(body, view())


@given(
    edits=st.lists(
        st.tuples(st.integers(0, 420), st.integers(0, 12), st.binary(max_size=3) | SNIPPETS), min_size=1, max_size=3
    )
)
def test_a_changed_request_for_an_input_called_data_ends_as_without_an_outline(edits: list[tuple[int, int, bytes]]):
    request = good() | {"parameters": PADDING}
    request["inputs"][0]["name"] = "data"
    body = orjson.dumps(request)
    model = of_data()
    parse(body, None, model)
    for at, length, written in edits:
        body = body[:at] + written + body[at + length :]
    assert outcome(body, model) == outcome(body, of_data())


@given(
    first=st.lists(st.sampled_from(["1", "2.5", "-0", "1e39", "[1]", "null", '"1"', "", "1 ", "true"]), max_size=14),
    second=st.sampled_from(["1,2,3,4", "[1,2],[3,4]", "1,2,3", "1.5,2,3,4", "", "9],[1,2,3,4", '1,2,3,4],"data":[5']),
)
def test_other_numbers_end_as_without_an_outline(first: list[str], second: str):
    body = text()
    x, i = orjson.dumps(good()["inputs"][0]["data"]), orjson.dumps(good()["inputs"][1]["data"])
    changed = body.replace(x, f"[{','.join(first)}]".encode()).replace(i, f"[{second}]".encode())
    assert outcome(changed, learnt(body)) == outcome(changed, view())
