from pathlib import Path

import pytest
from pydantic import ValidationError

from gnn_service.core import devices
from gnn_service.core.config import (
    ApiSettings,
    BreakerSettings,
    InferenceSettings,
    Settings,
    load_settings,
)
from gnn_service.core.config_sources import allowed, leaves
from gnn_service.core.config_types import SettingsGroup
from gnn_service.core.errors import ConfigurationError, DeviceUnavailableError

LEAVES = {".".join(path): field for path, field in leaves(Settings)}


def refusal(**overrides: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_defaults_are_those_that_were_promised():
    settings = load_settings()
    assert (settings.inference.batch_max, settings.inference.batch_wait_ms) == (16, 50)
    assert settings.inference.warmup_iterations == 10
    assert (settings.database.pool_min, settings.database.pool_max) == (2, 10)
    assert settings.database.query_timeout_s == 30
    assert settings.database.health.interval_s == 30
    assert settings.model.device == "auto"


def test_the_groups_stand_in_their_order():
    groups = ["model", "training", "inference", "database", "api", "monitoring", "observability"]
    assert list(Settings.model_fields) == groups


def test_the_tree_is_frozen_at_every_level():
    settings = load_settings()
    for owner, name in ((settings, "api"), (settings.api, "port"), (settings.inference.breaker, "open_s")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(owner, name, getattr(owner, name))


@pytest.mark.parametrize("path", LEAVES)
def test_every_setting_says_what_it_means_and_what_it_takes(path):
    field = LEAVES[path]
    assert field.description.endswith(".")
    assert allowed(field)


@pytest.mark.parametrize("path", [path for path, field in LEAVES.items() if field.annotation in (int, float)])
def test_every_number_has_a_lower_and_an_upper_bound(path):
    constraints = {type(item).__name__ for item in LEAVES[path].metadata}
    assert constraints & {"Ge", "Gt"}
    assert constraints & {"Le", "Lt"}


@pytest.mark.parametrize("path", [path for path, field in LEAVES.items() if field.annotation is float])
def test_every_measured_number_carries_its_unit(path):
    # ratios are the only numbers without one
    ratio = ("fraction", "ratio", "rate", "decay")
    assert path.endswith(("_s", "_ms", *ratio)), f"{path} needs a unit in its name"


def test_no_setting_is_a_mapping_because_mappings_of_two_sources_would_be_mixed():
    assert not [path for path, field in LEAVES.items() if "dict" in str(field.annotation).lower()]


@pytest.mark.parametrize(
    "group, key, value, words",
    [
        ("api", "port", 65_536, "api.port: 65536 from argument must be an integer from 0 to 65535"),
        ("api", "port", "http", "api.port: 'http' from argument must be an integer"),
        ("api", "port", True, "api.port: True from argument must be an integer"),
        ("api", "port", 80.5, "api.port: 80.5 from argument must be an integer"),
        ("api", "docs_enabled", "perhaps", "must be true or false"),
        ("api", "host", "", "must be text of 1 to 255 characters"),
        ("api", "cors_origins", "plant.example", "must be origins such as"),
        ("api", "companion_url", "localhost:1", "must be an http or https address"),
        ("inference", "batch_max", 65, "must be an integer from 1 to 64"),
        ("inference", "request_timeout_s", float("nan"), "must be a number above 0 and at most 600"),
        ("inference", "request_timeout_s", float("inf"), "must be a number above 0 and at most 600"),
        ("training", "test_fraction", 1.0, "must be a number above 0 and below 1"),
        ("observability", "log_level", "loud", "must be one of debug, info, warning, error"),
        ("model", "device", "gpu", "must be one of auto, cpu, cuda, cuda:N, mps"),
        ("model", "bundle", 3, "may be unset (null)"),
        ("model", "runtime", "tensorflow", "must be one of auto, onnxruntime, openvino, torch"),
    ],
)
def test_a_wrong_value_names_field_value_source_and_range(group, key, value, words):
    message = refusal(**{group: {key: value}})
    assert words in message
    assert message.startswith(f"{group}.{key}: ")


@pytest.mark.parametrize(
    "overrides, words",
    [
        ({"training": {"train_fraction": 0.8}}, "must sum to 1, not 1.1"),
        ({"database": {"pool_min": 11}}, "database.pool_min 11 (argument) and database.pool_max 10 (default)"),
        ({"inference": {"request_timeout_s": 0.05}}, "inference.batch_wait_ms 50.0 (default)"),
        ({"inference": {"queue_max": 15}}, "inference.queue_max 15 (argument)"),
        ({"inference": {"restart_backoff_s": 31}}, "inference.restart_backoff_max_s 30.0 (default)"),
        ({"inference": {"breaker": {"half_open_concurrent": 4}}}, "inference.breaker.half_open_probes 3 (default)"),
        ({"database": {"pool_max": 51}}, "database.embedded.connections_max 60 (default): must leave 10 connections"),
        ({"database": {"statement_timeout_s": 30}}, "must let the server give up before the client"),
        ({"database": {"retry": {"backoff_s": 6}}}, "database.retry.backoff_max_s 5.0 (default)"),
        ({"api": {"shutdown_timeout_s": 9}}, "inference.drain_timeout_s 10.0 (default)"),
        ({"monitoring": {"interval_s": 61}}, "monitoring.window_s 60.0 (default)"),
        ({"monitoring": {"stale_after_s": 59}}, "monitoring.interval_s 60.0 (default)"),
        ({"observability": {"tracing_enabled": True}}, "must have an endpoint when tracing is on"),
    ],
)
def test_settings_that_do_not_fit_together_are_named_with_their_sources(overrides, words):
    assert words in refusal(**overrides)


def test_fractions_that_sum_to_one_within_rounding_are_taken():
    training = {"train_fraction": 0.06, "validation_fraction": 0.57, "test_fraction": 0.37}
    assert sum(training.values()) != 1
    assert load_settings(training=training).training.test_fraction == 0.37


def test_all_wrong_values_are_told_at_once():
    message = refusal(api={"port": -1}, inference={"batch_max": 0})
    assert "api.port: -1" in message
    assert "inference.batch_max: 0" in message


def test_a_group_that_is_no_group_is_refused_without_printing_it():
    message = refusal(database="postgresql://user:hunter2@host/db")
    assert message == "database from argument must be a table of settings"


def test_a_partly_given_group_keeps_the_rest():
    breaker = load_settings(inference={"breaker": {"open_s": 3}}).inference.breaker
    assert breaker == BreakerSettings(open_s=3)
    assert breaker.minimum_calls == 10


def test_of_a_group_given_as_an_instance_only_what_was_set_counts(monkeypatch):
    monkeypatch.setenv("GNN_API__HOST", "0.0.0.0")  # noqa: S104 - never listened on
    monkeypatch.setenv("GNN_INFERENCE__BREAKER__OPEN_S", "7")
    inference = InferenceSettings(breaker=BreakerSettings(minimum_calls=3))
    settings = load_settings(api=ApiSettings(port=0), inference=inference)
    assert (settings.api.host, settings.api.port) == ("0.0.0.0", 0)  # noqa: S104
    assert (settings.inference.breaker.open_s, settings.inference.breaker.minimum_calls) == (7, 3)


def test_the_tree_built_directly_is_checked_as_well():
    with pytest.raises(ValidationError):
        Settings(api={"port": -1})
    with pytest.raises(ValidationError):
        Settings(unknown=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("group", SettingsGroup.__subclasses__())
def test_every_group_refuses_a_key_it_does_not_have(group):
    with pytest.raises(ValidationError, match="not permitted"):
        group(surely_not=1)


def test_a_log_level_may_be_written_in_capitals():
    assert load_settings(observability={"log_level": "DEBUG"}).observability.log_level == "debug"


def test_a_path_may_start_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    settings = load_settings(training={"runs_dir": "~/runs"})
    assert settings.training.runs_dir == Path("/home/someone/runs")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert settings.database.folder == Path("/home/someone/.local/share/gnn-service")


def test_what_root_keeps_is_not_below_a_home(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert load_settings().database.folder == Path("/var/lib/gnn-service")
    assert load_settings(database={"data_dir": "/srv/gnn"}).database.folder == Path("/srv/gnn")


def test_a_user_without_a_home_learns_which_setting_needs_one(monkeypatch):
    def homeless(path: Path) -> Path:
        if not str(path).startswith("~"):
            return path
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "model.cache_dir: '~/.cache/gnn-service' from default must be a path, from a known home" in refusal()
    settings = load_settings(model={"cache_dir": None})
    with pytest.raises(ConfigurationError, match="set GNN_DATABASE__DATA_DIR"):
        _ = settings.database.folder


def test_an_explicit_device_that_is_not_there_is_refused_with_those_that_are(monkeypatch):
    monkeypatch.setattr(devices, "available", lambda runtime=None: ("cuda:0", "cpu"))
    assert load_settings(model={"device": "cuda"}).model.device == "cuda"
    monkeypatch.setenv("GNN_MODEL__DEVICE", "cuda:1")
    with pytest.raises(DeviceUnavailableError) as caught:
        load_settings()
    assert "GNN_MODEL__DEVICE" in str(caught.value)
    assert "offers here: cuda:0, cpu" in str(caught.value)
    assert caught.value.where == "model.device"


def test_loading_creates_no_folder(working_directory):
    load_settings()
    assert list(working_directory.iterdir()) == []


def test_folders_are_created_on_demand_and_only_those_asked_for(tmp_path):
    settings = load_settings(
        training={"runs_dir": tmp_path / "a" / "runs"}, database={"data_dir": tmp_path / "b" / "data"}
    )
    settings.create_directories("training.runs_dir")
    assert (tmp_path / "a" / "runs").is_dir()
    assert not (tmp_path / "b").exists()
    settings.create_directories()
    settings.create_directories()  # those that are there already are fine
    assert (tmp_path / "b" / "data").is_dir()


def test_a_folder_that_cannot_be_created_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    settings = load_settings(training={"runs_dir": tmp_path / "file" / "runs"})
    for attempt in (settings.create_directories, settings.check_directories):
        with pytest.raises(ConfigurationError, match=r"set GNN_TRAINING__RUNS_DIR to a folder") as caught:
            attempt("training.runs_dir")
        assert caught.value.where == "training.runs_dir"


def test_a_folder_without_permission_is_a_clear_error(tmp_path, monkeypatch):
    settings = load_settings(training={"runs_dir": tmp_path / "runs"})
    monkeypatch.setattr("os.access", lambda *_: False)  # a test that runs as root may write anywhere
    with pytest.raises(ConfigurationError, match="no permission to write"):
        settings.create_directories("training.runs_dir")


def test_checking_folders_creates_none(tmp_path):
    settings = load_settings(training={"runs_dir": tmp_path / "x" / "runs"}, database={"data_dir": tmp_path})
    settings.check_directories()
    assert not (tmp_path / "x").exists()


def test_graphs_come_as_a_list_a_table_or_one_line(tmp_path, monkeypatch):
    wanted = {"a": Path("x=1.onnx"), "b.2": Path("y.onnx")}
    assert load_settings(inference={"tensor_models": ["a=x=1.onnx", "b.2=y.onnx"]}).inference.graphs() == wanted
    assert load_settings(inference={"tensor_models": {"a": "x=1.onnx", "b.2": "y.onnx"}}).inference.graphs() == wanted
    monkeypatch.setenv("GNN_INFERENCE__TENSOR_MODELS", "a=x=1.onnx, b.2=y.onnx")
    assert load_settings().inference.graphs() == wanted
    assert InferenceSettings().graphs() == {}


@pytest.mark.parametrize("value", ["x.onnx", "a=", "=x.onnx", "a/b=x.onnx", "a=x.onnx,a=y.onnx", "bundle=x.onnx"])
def test_a_graph_needs_a_name_of_its_own(value):
    with pytest.raises(ConfigurationError, match=r"inference\.tensor_models"):
        load_settings(inference={"tensor_models": value})
