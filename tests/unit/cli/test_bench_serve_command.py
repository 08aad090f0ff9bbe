"""`gnn-service bench serve`: what it refuses before anything is started."""

import pytest

from gnn_service.bench import serve_child
from gnn_service.cli.main import main


@pytest.fixture(autouse=True)
def nothing_is_started(monkeypatch):
    def refuse(*arguments, **variables):
        pytest.fail("it started a service")

    monkeypatch.setattr(serve_child, "started_service", refuse)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--pid", "1"], "--pid"),
        (["--scaling", "--cold-start"], "--scaling"),
        (["--cold-start", "--url", "http://127.0.0.1:1"], "--cold-start"),
        (["--scaling", "--onnx", "a=b"], "--scaling"),
        (["--json", "--markdown"], "--json"),
        (["--onnx", "graph.onnx"], "NAME=VALUE"),
        (["--dim", "nodes=many"], "--dim"),
        (["--callers", "0"], "--callers"),
        (["--duration", "0"], "--duration"),
        (["--wire", "carrier-pigeon"], "--wire"),
    ],
)
def test_a_wrong_usage_is_said_before_anything_starts(arguments, said, capsys):
    assert main(["bench", "serve", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_an_address_where_nothing_answers_is_one_line(capsys):
    assert main(["bench", "serve", "--url", "http://127.0.0.1:9"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("gnn-service: http://127.0.0.1:9 does not answer")
    assert shown.count("\n") == 1
