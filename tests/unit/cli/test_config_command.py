import json

import pytest

from gnn_service.cli.main import main
from gnn_service.core import devices

URL = "postgresql://user:hunter2@host/db"


@pytest.fixture(autouse=True)
def empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_show_lists_every_value_with_its_source_and_no_secret(monkeypatch, capsys):
    monkeypatch.setenv("GNN_API__PORT", "81")
    monkeypatch.setenv("GNN_DATABASE__URL", URL)
    assert main(["config", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["api.port"] == {"value": 81, "source": "environment variable GNN_API__PORT"}
    assert shown["inference.breaker.open_s"] == {"value": 10.0, "source": "default"}
    assert shown["model.bundle"] == {"value": None, "source": "default"}
    assert shown["database.url"] == {"value": "**********", "source": "environment variable GNN_DATABASE__URL"}


def test_the_table_says_the_same_for_people(monkeypatch, capsys):
    monkeypatch.setenv("GNN_DATABASE__URL", URL)
    monkeypatch.setenv("GNN_OBSERVABILITY__SERVICE_NAME", "[red]line[/red]")
    assert main(["config", "show"]) == 0
    table = capsys.readouterr().out
    for words in ("inference.breaker.half_open_concurrent", "**********", "default", "[red]line[/red]"):
        assert words in table
    assert "hunter2" not in table


def test_a_wrong_setting_is_one_line_on_stderr(monkeypatch, capsys):
    monkeypatch.setenv("GNN_API__PORT", "many")
    for command in ("show", "check"):
        assert main(["config", command]) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.splitlines() == [
            "gnn-service: api.port: 'many' from environment variable GNN_API__PORT must be an integer from 0 to 65535"
        ]


def test_check_passes_where_everything_holds_and_creates_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GNN_DATABASE__DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("GNN_TRAINING__DEVICE", "cpu")
    assert main(["config", "check", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert [item["setting"] for item in report["checks"]] == [
        "model.device",
        "training.device",
        "training.runs_dir",
        "database.data_dir",
    ]
    assert list(tmp_path.iterdir()) == []


def test_check_names_every_problem(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GNN_DATABASE__DATA_DIR", str(tmp_path / "file" / "data"))
    monkeypatch.setenv("GNN_TRAINING__DEVICE", "cuda:9")
    monkeypatch.setattr(devices, "available", lambda runtime=None: ("cpu",))
    assert main(["config", "check"]) == 1
    printed = capsys.readouterr()
    assert "ok    model.device: auto is cpu (onnxruntime)" in printed.out
    assert "wrong training.device: device 'cuda:9' is not there; torch offers here: cpu" in printed.out
    assert "wrong database.data_dir: cannot use" in printed.out
    (line,) = printed.err.splitlines()
    assert "training.device" in line
    assert "database.data_dir" in line
    assert main(["config", "check", "--json"]) == 1
    assert not json.loads(capsys.readouterr().out)["ok"]


def test_check_does_not_ask_for_training_where_torch_is_not_installed(monkeypatch, capsys):
    real = devices.is_installed
    monkeypatch.setattr(devices, "is_installed", lambda runtime: runtime != "torch" and real(runtime))
    assert main(["config", "check"]) == 0
    assert "training.device: not looked for: torch is not installed" in capsys.readouterr().out
    monkeypatch.setenv("GNN_TRAINING__DEVICE", "cuda")
    assert main(["config", "check"]) == 1
    assert "torch is not installed" in capsys.readouterr().err
