"""What the commands on recordings have in common."""

import json
from pathlib import Path

import pytest

from gnn_service.cli.selection import claimed_folder
from gnn_service.core.errors import InvalidInputError

REPORT = json.dumps({"format": "gnn-service/report/1"})


def written(target: Path) -> list[str]:
    with claimed_folder(target) as folder:
        assert folder is not None
        (folder / "new").write_text("")
    return [path.name for path in target.iterdir()]


def test_a_folder_that_is_new_or_empty_takes_the_report(tmp_path):
    (tmp_path / "empty").mkdir()
    assert written(tmp_path / "new") == ["new"]
    assert written(tmp_path / "empty") == ["new"]


def test_an_earlier_report_is_replaced(tmp_path):
    (tmp_path / "report.json").write_text(REPORT)
    (tmp_path / "report.md").write_text("")
    assert written(tmp_path) == ["new"]


@pytest.mark.parametrize(
    "name, text",
    [
        ("thesis.tex", "years of work"),
        ("report.json", '{"format": "another/1"}'),
        ("report.json", "[1]"),
        ("report.json", "\x80 no JSON"),
        ("manifest.json", REPORT),
    ],
)
def test_a_folder_that_holds_anything_else_is_left_as_it_was(tmp_path, name, text):
    target = tmp_path / "results"
    target.mkdir()
    (target / name).write_text(text)
    with pytest.raises(InvalidInputError, match="holds something that is no report; choose another"):
        written(target)
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    assert (target / name).read_text() == text


def test_work_that_fails_leaves_the_earlier_report(tmp_path):
    (tmp_path / "report.json").write_text(REPORT)

    def fails() -> None:
        with claimed_folder(tmp_path):
            raise InvalidInputError("no good")

    with pytest.raises(InvalidInputError, match="no good"):
        fails()
    assert (tmp_path / "report.json").read_text() == REPORT
