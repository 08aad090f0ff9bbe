import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from gnn_service.core.config import load_settings, load_with_sources
from gnn_service.core.errors import ConfigurationError

SECRET = "postgresql://user:hunter2@host/db"


def refusal(**overrides: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "secrets"
    directory.mkdir()
    monkeypatch.setenv("GNN_SECRETS_DIR", str(directory))
    return directory


def test_the_stronger_source_wins_and_says_so(working_directory, secrets, monkeypatch):
    def port() -> tuple[int, str]:
        settings, origins = load_with_sources()
        return settings.api.port, origins["api.port"]

    assert port() == (8000, "default")
    (secrets / "GNN_API__PORT").write_text("1\n")
    assert port() == (1, f"{secrets}: secret GNN_API__PORT")
    (working_directory / "gnn-service.toml").write_text("[api]\nport = 2\n")
    assert port() == (2, "gnn-service.toml")
    (working_directory / ".env").write_text("GNN_API__PORT=3\n")
    assert port() == (3, ".env: GNN_API__PORT")
    monkeypatch.setenv("GNN_API__PORT", "4")
    assert port() == (4, "environment variable GNN_API__PORT")
    settings, origins = load_with_sources(api={"port": 5})
    assert (settings.api.port, origins["api.port"]) == (5, "argument")


def test_every_source_may_set_its_part_of_one_group(working_directory, secrets, monkeypatch):
    (secrets / "GNN_DATABASE__URL").write_text(SECRET)
    (working_directory / "gnn-service.toml").write_text("[database]\npool_max = 20\npool_min = 3\n")
    (working_directory / ".env").write_text("GNN_DATABASE__POOL_MIN=4\n")
    monkeypatch.setenv("GNN_DATABASE__QUERY_TIMEOUT_S", "40")
    database = load_settings(database={"acquire_timeout_s": 1}).database
    assert database.url.get_secret_value() == SECRET
    assert (database.pool_min, database.pool_max) == (4, 20)
    assert (database.query_timeout_s, database.acquire_timeout_s) == (40, 1)
    assert database.health.interval_s == 30


def test_two_levels_down_sources_still_meet(working_directory, monkeypatch):
    (working_directory / "gnn-service.toml").write_text("[inference.breaker]\nopen_s = 3\nwindow_s = 5\n")
    monkeypatch.setenv("GNN_INFERENCE__BREAKER__OPEN_S", "4")
    breaker = load_settings().inference.breaker
    assert (breaker.open_s, breaker.window_s, breaker.minimum_calls) == (4, 5, 10)


def test_a_list_of_a_stronger_source_replaces_the_weaker_one(working_directory, monkeypatch):
    (working_directory / "gnn-service.toml").write_text('[api]\ncors_origins = ["https://a.example"]\n')
    assert load_settings().api.cors_origins == ("https://a.example",)
    monkeypatch.setenv("GNN_API__CORS_ORIGINS", "https://b.example, https://c.example:8443")
    assert load_settings().api.cors_origins == ("https://b.example", "https://c.example:8443")


def test_a_whole_group_may_come_as_json(monkeypatch):
    monkeypatch.setenv("GNN_API", '{"port": 7, "docs_enabled": false}')
    settings, origins = load_with_sources()
    assert (settings.api.port, settings.api.docs_enabled) == (7, False)
    assert origins["api.port"] == "environment variable GNN_API"
    monkeypatch.setenv("GNN_API", '{"port": 7')
    assert refusal().startswith("environment variable GNN_API is not JSON")


def test_an_empty_variable_is_not_set_and_null_unsets(working_directory, monkeypatch):
    monkeypatch.setenv("GNN_API__PORT", "")
    assert load_settings().api.port == 8000
    (working_directory / "gnn-service.toml").write_text('[model]\nbundle = "some"\n')
    monkeypatch.setenv("GNN_MODEL__BUNDLE", "null")
    settings, origins = load_with_sources()
    assert settings.model.bundle is None
    assert origins["model.bundle"] == "environment variable GNN_MODEL__BUNDLE"


def test_variables_are_read_in_any_case(monkeypatch):
    monkeypatch.setenv("gnn_api__port", "9")
    assert load_settings().api.port == 9


@pytest.mark.parametrize(
    "name, suggestion",
    [
        ("GNN_API__PROT", "api.port (GNN_API__PORT)"),
        ("GNN_API__LOG_LEVEL", "observability.log_level (GNN_OBSERVABILITY__LOG_LEVEL)"),
        ("GNN_APY__PORT", "api.port (GNN_API__PORT)"),
        ("GNN_DATABASE_URL", "database.url (GNN_DATABASE__URL)"),
        ("GNN_LOG_LEVEL", "observability.log_level (GNN_OBSERVABILITY__LOG_LEVEL)"),
        ("GNN_INFERENCE__BREAKER__OPENS", "inference.breaker.open_s (GNN_INFERENCE__BREAKER__OPEN_S)"),
    ],
)
def test_a_misspelt_variable_is_an_error_with_a_suggestion(name, suggestion, monkeypatch):
    monkeypatch.setenv(name, "hunter2")
    message = refusal()
    assert f"environment variable {name} is no setting; did you mean {suggestion}?" in message
    assert "hunter2" not in message


def test_a_variable_that_resembles_nothing_points_to_the_list(monkeypatch):
    monkeypatch.setenv("GNN_XYZ__QQQ", "1")
    assert refusal().endswith("is no setting; see gnn-service config show")


@pytest.mark.parametrize(
    "name, value",
    [
        ("GNN_SERVICE_PORT", "tcp://10.0.0.1:8000"),
        ("GNN_API_PORT", "tcp://10.0.0.1:8000"),
        ("GNN_API_SERVICE_HOST", "10.0.0.1"),
        ("GNN_SERVICE_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("GNN_TEST_REQUIRE", "data"),
    ],
)
def test_what_an_orchestrator_or_another_program_sets_is_left_alone(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    assert load_settings().api.port == 8000


def test_a_misspelt_name_is_an_error_in_every_source(working_directory, secrets):
    assert "api.prot from argument is no setting; did you mean api.port" in refusal(api={"prot": 1})
    assert "apj from argument is no setting" in refusal(apj={"port": 1})
    (secrets / "GNN_DATABSE__URL").write_text(SECRET)
    assert "secret GNN_DATABSE__URL is no setting; did you mean database.url" in refusal()
    (secrets / "GNN_DATABSE__URL").unlink()
    (working_directory / ".env").write_text("GNN_WHATEVER=1\n")
    assert ".env: GNN_WHATEVER is no setting" in refusal()
    (working_directory / ".env").unlink()
    (working_directory / "gnn-service.toml").write_text("[observability]\nlevel = 1\n")
    assert "observability.level from gnn-service.toml is no setting" in refusal()


def test_other_programs_may_share_the_files(working_directory, secrets):
    (working_directory / ".env").write_text("POSTGRES_PASSWORD=x\nAPI=1\nAPI__PORT=x\nGNN_API__PORT=6\n")
    (secrets / "tls.key").write_text("not ours")
    assert load_settings().api.port == 6


def test_a_secret_is_never_printed(working_directory, monkeypatch):
    monkeypatch.setenv("GNN_DATABASE__URL", SECRET)
    settings = load_settings()
    assert settings.database.url.get_secret_value() == SECRET
    shown = [repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())]
    assert not [text for text in shown if "hunter2" in text]


def test_a_wrong_secret_is_not_printed_either(monkeypatch):
    monkeypatch.setenv("GNN_DATABASE__URL", "mysql://user:hunter2@host/db")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    printed = "".join(traceback.format_exception(caught.value))
    assert "database.url: a secret value from environment variable GNN_DATABASE__URL must be a postgresql://" in printed
    assert "hunter2" not in printed


def test_credentials_inside_an_address_are_refused_and_masked(monkeypatch):
    monkeypatch.setenv("GNN_OBSERVABILITY__OTLP_ENDPOINT", "https://user:hunter2@collector.example/v1")
    message = refusal()
    assert "https://***@collector.example/v1" in message
    assert "hunter2" not in message


def test_secrets_may_be_the_links_of_a_mounted_volume(secrets):
    (secrets / "..2025").mkdir()
    (secrets / "..2025" / "GNN_DATABASE__URL").write_text(f"{SECRET}\n")
    (secrets / "..data").symlink_to("..2025")
    (secrets / "GNN_DATABASE__URL").symlink_to("..data/GNN_DATABASE__URL")
    assert load_settings().database.url.get_secret_value() == SECRET


@pytest.mark.parametrize("name", ["GNN_CONFIG_FILE", "GNN_ENV_FILE", "GNN_SECRETS_DIR"])
def test_a_place_that_the_environment_names_must_be_there(name, tmp_path, monkeypatch):
    monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    assert f"{name} names {tmp_path / 'nowhere'}" in refusal()


def test_the_environment_may_name_other_files(tmp_path, monkeypatch):
    (tmp_path / "a.toml").write_text("[api]\nport = 11\n")
    (tmp_path / "b.env").write_text("GNN_API__HOST=localhost\n")
    monkeypatch.setenv("GNN_CONFIG_FILE", str(tmp_path / "a.toml"))
    monkeypatch.setenv("GNN_ENV_FILE", str(tmp_path / "b.env"))
    settings = load_settings()
    assert (settings.api.port, settings.api.host) == (11, "localhost")


@pytest.mark.parametrize(
    "content, words",
    [
        (b"a = " + b"[" * 20_000, "gnn-service.toml is nested too deeply"),
        (b"[api\nport = 1", "gnn-service.toml is not TOML: "),
        (b"[api]\nhost = '\xff'", "gnn-service.toml is not UTF-8"),
    ],
    ids=["nested", "no TOML", "no UTF-8"],
)
def test_a_file_that_cannot_be_parsed_is_named(content, words, working_directory):
    (working_directory / "gnn-service.toml").write_bytes(content)
    assert refusal().startswith(words)


def test_settings_of_other_types_in_toml_are_refused(working_directory):
    (working_directory / "gnn-service.toml").write_text("[api]\nport = true\n")
    assert refusal() == "api.port: True from gnn-service.toml must be an integer from 0 to 65535"


def test_loading_the_settings_imports_no_runtime():
    program = (
        "import sys; from gnn_service.core.config import load_settings; load_settings(model={'device': 'cpu'});"
        "sys.exit(sum(name in sys.modules for name in ('torch', 'onnxruntime', 'fastapi', 'numpy')))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=50)
