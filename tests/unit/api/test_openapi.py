"""The OpenAPI document is complete enough for generated clients."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from gnn_service.api.schemas.diagnose import CommissionBody, DiagnoseBody
from gnn_service.api.schemas.problem import Problem
from gnn_service.api.schemas.readings import ReadingsBody
from gnn_service.api.schemas.window import WindowBody


@pytest.fixture
async def document(http: httpx2.AsyncClient) -> Any:
    return (await http.get("/openapi.json")).json()


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def operations(document: Any) -> Iterator[tuple[str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_of_the_contract_is_described(document: Any):
    assert document["openapi"].startswith("3.1")
    assert {name for name, _ in operations(document)} == {
        "POST /v1/diagnose",
        "POST /v1/commission",
        "GET /v1/machines",
        "GET /v1/machines/{id}",
        "PUT /v1/machines/{id}",
        "DELETE /v1/machines/{id}",
        "GET /v1/machines/{id}/baseline",
        "PUT /v1/machines/{id}/baseline",
        "POST /v1/machines/{id}/readings",
        "GET /v1/machines/{id}/readings",
        "POST /v1/machines/{id}/diagnosis",
        "GET /v1/machines/{id}/diagnoses",
        "GET /v1/catalogue",
        "GET /v1/status",
        "GET /health/live",
        "GET /health/ready",
        "GET /health",
        "GET /metrics",
        "GET /v2",
        "GET /v2/health/live",
        "GET /v2/health/ready",
        "GET /v2/models/{name}",
        "GET /v2/models/{name}/ready",
        "POST /v2/models/{name}/infer",
        "GET /v2/models/{name}/versions/{version}",
        "GET /v2/models/{name}/versions/{version}/ready",
        "POST /v2/models/{name}/versions/{version}/infer",
    }


def test_every_operation_has_a_name_a_summary_and_typed_answers(document: Any):
    names = [operation["operationId"] for _, operation in operations(document)]
    assert sorted(names) == sorted(set(names))
    assert all(name.isidentifier() for name in names)
    for name, operation in operations(document):
        assert operation["description"], name
        assert operation["tags"], name
        if name.startswith("DELETE"):
            assert "content" not in operation["responses"]["204"], name
            continue
        schema = next(iter(operation["responses"]["200"]["content"].values()))["schema"]
        assert schema, name


def test_every_error_is_described_as_problem_details(document: Any):
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert response["content"] == {"application/problem+json": problem}, (name, status)
    diagnose = document["paths"]["/v1/diagnose"]["post"]["responses"]
    assert set(diagnose) == {"200", "400", "404", "408", "413", "415", "422", "500", "503", "504"}
    assert "Retry-After" in diagnose["503"]["headers"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_reference_resolves(document: Any):
    found = set(references(document))
    assert "#/components/schemas/Diagnosis" in found
    for reference in found:
        at = document
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]


def test_no_mark_of_ours_leaks_into_the_document(document: Any):
    assert not [reference for reference in references(document) if "<" in reference]


@pytest.mark.parametrize("model", [DiagnoseBody, CommissionBody, WindowBody, ReadingsBody, Problem])
def test_every_example_is_valid(model: Any):
    examples = model.model_json_schema()["examples"]
    assert examples
    for example in examples:
        model.model_validate(example)


async def test_the_example_of_the_documentation_is_answered(document: Any, http: httpx2.AsyncClient):
    example = document["components"]["schemas"]["DiagnoseBody"]["examples"][0]
    assert (await http.post("/v1/diagnose", json=example)).status_code == 200
