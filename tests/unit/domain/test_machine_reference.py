import json

from gnn_service.domain.catalogue import catalogue
from gnn_service.domain.machine import Machine
from gnn_service.domain.machine_reference import PARTS, reference, schema_text


def meaning(node):
    """Pydantic versions differ in whether a bound is 1 or 1.0, and whether a constant is an enumeration of one, too."""
    return {key: value for key, value in node.items() if key != "enum" or value != [node.get("const")]}


def test_the_page_in_the_docs_is_what_the_code_says(root):
    page = (root / "docs" / "reference" / "machine.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m gnn_service.domain.machine_reference > docs/reference/machine.md"


def test_the_schema_in_the_docs_is_what_the_code_says(root):
    schema = (root / "docs" / "reference" / "machine.schema.json").read_text(encoding="utf-8")
    command = "python -m gnn_service.domain.machine_reference --schema > docs/reference/machine.schema.json"
    assert json.loads(schema, object_hook=meaning) == json.loads(schema_text(), object_hook=meaning), f"run: {command}"


def test_every_field_is_described():
    for title, part in PARTS:
        for name, field in part.model_fields.items():
            assert field.description, f"{title}.{name}"
    described = {part for _, part in PARTS}
    definitions = set(Machine.model_json_schema()["$defs"]) - {"SensorRole", "Port"}
    assert definitions == {part.__name__ for part in described - {Machine}}


def test_everything_in_the_catalogue_is_on_the_page():
    page = reference()
    table = catalogue()
    for names in (table.component_type_ids, table.connection_type_ids, table.quantity_ids):
        for name in names:
            assert f"| `{name}` |" in page
    for mode in table.failure_modes:
        assert f"| `{mode.id}` | {mode.component} | {mode.iso14224}" in page


def test_the_schema_is_json_and_names_its_dialect():
    schema = json.loads(schema_text())
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["required"] == ["id", "components"]
    assert schema["additionalProperties"] is False
