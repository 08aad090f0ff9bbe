"""The branches of the settings tree, one class each: unit, range, default and meaning of every field."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from gnn_service.core import devices
from gnn_service.core.config_breaker import BreakerSettings
from gnn_service.core.config_ingest import IngestSettings
from gnn_service.core.config_types import (
    Device,
    Graphs,
    HttpUrl,
    Origins,
    SettingsGroup,
    UserPath,
    expand,
    lower,
    refuse,
)

_DAY_S = 86_400


class ModelSettings(SettingsGroup):
    """The trained model that answers."""

    bundle: UserPath | None = Field(None, description="Folder of the trained bundle; unset takes the one shipped.")
    device: Device = Field("auto", description="Where the model runs; auto takes the best device there is.")
    runtime: Annotated[Literal["auto", "onnxruntime", "openvino", "torch"], BeforeValidator(lower)] = Field(
        "auto", description="What the model runs on; auto takes the installed one that is measured to be fastest."
    )
    cuda_graphs: bool = Field(default=True, description="With torch on a GPU, replay captured CUDA graphs.")
    cache_dir: UserPath | None = Field(
        Path("~/.cache/gnn-service"), description="Folder for what was measured and compiled; null keeps nothing."
    )

    @model_validator(mode="after")
    def _device_exists(self) -> Self:
        if self.device != "auto":
            self.resolve_device(where="model.device")
        return self

    def resolve_device(self, *, where: str | None = None) -> tuple[str, devices.Runtime]:
        """What `device` means here, and the runtime that offers it; see `devices.resolve`."""
        if self.runtime == "auto":
            return devices.resolve_any(self.device, where=where)
        return devices.resolve(self.device, self.runtime, where=where), self.runtime


class TrainingSettings(SettingsGroup):
    """How a model is trained. An explicit device is looked for when training starts and by `config check`."""

    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of every random draw.")
    epochs: int = Field(50, ge=1, le=10_000, description="Passes over the training windows, at most.")
    batch_size: int = Field(64, ge=1, le=4096, description="Windows in a training step.")
    learning_rate: float = Field(2e-3, gt=0, le=1, description="Peak step of AdamW, dimensionless.")
    weight_decay: float = Field(0.05, ge=0, le=1, description="Decoupled weight decay of AdamW, dimensionless.")
    patience: int = Field(15, ge=1, le=10_000, description="Epochs without improvement before training stops.")
    train_fraction: float = Field(0.7, gt=0, lt=1, description="Share of the groups to train on.")
    validation_fraction: float = Field(0.15, gt=0, lt=1, description="Share of the groups to stop and calibrate on.")
    test_fraction: float = Field(0.15, gt=0, lt=1, description="Share of the groups held out for the final score.")
    folds: int = Field(5, ge=2, le=50, description="Folds of a cross-validation.")
    device: Device = Field("auto", description="Where training runs; auto takes the best device there is.")
    runs_dir: UserPath = Field(Path("runs"), description="Folder that run folders are written to.")
    commissioning_cycles: int = Field(10, ge=1, le=10_000, description="Healthy cycles that make a baseline.")

    @model_validator(mode="after")
    def _fractions_share_the_whole(self) -> Self:
        total = self.train_fraction + self.validation_fraction + self.test_fraction
        if abs(total - 1) > 1e-6:
            names = ("train_fraction", "validation_fraction", "test_fraction")
            refuse(f"must sum to 1, not {total:.6g}; set all three", *names)
        return self


class InferenceSettings(SettingsGroup):
    """The engine between many callers and one model."""

    batch_max: int = Field(16, ge=1, le=64, description="Windows in a batch, at most.")
    batch_wait_ms: float = Field(50.0, ge=0, le=1000, description="Milliseconds a batch is held open, at most.")
    warmup_iterations: int = Field(10, ge=0, le=1000, description="Warm-up runs of each batch size; 0 for no warm-up.")
    queue_max: int = Field(256, ge=1, le=65_536, description="Windows that may wait; more are refused at once.")
    request_timeout_s: float = Field(30.0, gt=0, le=600, description="Seconds from arrival to answer, at most.")
    instances: int = Field(
        0, ge=0, le=64, description="Model threads side by side; 0: one a core, less one; 4 at most."
    )
    threads: int = Field(1, ge=1, le=256, description="Threads inside the model's runtime.")
    restart_backoff_s: float = Field(0.5, gt=0, le=600, description="Seconds before a dead worker's first restart.")
    restart_backoff_max_s: float = Field(30.0, gt=0, le=3600, description="Seconds between restarts, at most.")
    heartbeat_timeout_s: float = Field(10.0, gt=0, le=600, description="Seconds of silence that mean a hung worker.")
    hung_max: int = Field(4, ge=1, le=64, description="Hung threads after which the process ends for a new one.")
    drain_timeout_s: float = Field(10.0, ge=0, le=600, description="Seconds for waiting requests on shutdown.")
    memory_fraction: float = Field(0.8, gt=0, le=1, description="Share of a GPU's memory to use; no effect on a CPU.")
    tensor_models: Graphs = Field((), description="ONNX graphs to serve as they are through /v2, by name.")
    shadow_fraction: float = Field(0.1, gt=0, le=1, description="Share of answers that a shadow model computes too.")
    shadow_queue_max: int = Field(32, ge=1, le=4096, description="Samples that may wait for it; more are dropped.")
    breaker: BreakerSettings = Field(default_factory=BreakerSettings, description="Pauses calls to a failing model.")

    def graphs(self) -> dict[str, Path]:
        """The files of `tensor_models` by their names."""
        pairs = (value.split("=", 1) for value in self.tensor_models)
        return {name: expand(Path(path.strip())) for name, path in pairs}

    @model_validator(mode="after")
    def _times_and_sizes_fit(self) -> Self:
        if self.batch_wait_ms >= self.request_timeout_s * 1000:
            refuse("must wait less for a batch than for the answer", "batch_wait_ms", "request_timeout_s")
        if self.batch_max > self.queue_max:
            refuse("must not batch more than may wait", "batch_max", "queue_max")
        if self.restart_backoff_s > self.restart_backoff_max_s:
            refuse("must not start above its maximum", "restart_backoff_s", "restart_backoff_max_s")
        return self


class ApiSettings(SettingsGroup):
    """The HTTP door."""

    host: str = Field("127.0.0.1", min_length=1, max_length=255, description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65_535, description="TCP port to listen on; 0 takes a free one.")
    body_max_bytes: int = Field(8 * 2**20, ge=1024, le=2**30, description="Bytes in a request body, at most.")
    bodies_max_bytes: int = Field(
        256 * 2**20, ge=1024, le=2**40, description="Bytes in request bodies over 64 KiB together, at most."
    )
    body_timeout_s: float = Field(30.0, gt=0, le=600, description="Seconds for a request's head, then its body.")
    windows_max: int = Field(256, ge=1, le=65_536, description="Windows in one request, at most.")
    connections_max: int = Field(1024, ge=1, le=65_536, description="Connections at once; more are refused.")
    keep_alive_s: int = Field(5, ge=1, le=3600, description="Seconds that an idle connection stays open.")
    docs_enabled: bool = Field(default=True, description="Serve the interactive API documentation.")
    hot_lane_enabled: bool = Field(default=True, description="Answer the busiest routes next to the socket.")
    cors_origins: Origins = Field((), description="Web origins whose pages may call the API.")
    companion_url: HttpUrl | None = Field(None, description="Address of the demo's control, where one runs.")
    shutdown_timeout_s: float = Field(15.0, gt=0, le=600, description="Seconds for open requests on shutdown.")

    @model_validator(mode="after")
    def _the_largest_body_has_room(self) -> Self:
        if self.bodies_max_bytes < self.body_max_bytes:
            refuse("must have room for the largest body", "bodies_max_bytes", "body_max_bytes")
        return self


class MonitoringSettings(SettingsGroup):
    """How a machine is watched."""

    window_s: float = Field(60.0, ge=1, le=_DAY_S, description="Seconds of readings that a diagnosis looks at.")
    interval_s: float = Field(60.0, ge=0.1, le=_DAY_S, description="Seconds between diagnoses of a machine.")
    stale_after_s: float = Field(300.0, ge=1, le=_DAY_S, description="Seconds without readings until state unknown.")
    ingest: IngestSettings = Field(default_factory=IngestSettings, description="Readings on their way in.")

    @model_validator(mode="after")
    def _nothing_goes_unseen(self) -> Self:
        if self.interval_s > self.window_s:
            refuse("must look at every reading at least once", "interval_s", "window_s")
        if self.stale_after_s < self.interval_s:
            refuse("must not be stale between two diagnoses", "stale_after_s", "interval_s")
        return self


class ObservabilitySettings(SettingsGroup):
    """Logs, metrics and traces."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lower)] = Field(
        "info", description="Least severe record that is logged."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="Shape of a log line; auto is console in a terminal, else json."
    )
    metrics_enabled: bool = Field(default=True, description="Serve Prometheus metrics at /metrics.")
    tracing_enabled: bool = Field(default=False, description="Send OpenTelemetry traces to the OTLP endpoint.")
    otlp_endpoint: HttpUrl | None = Field(None, description="Where traces go: OTLP over HTTP with protobuf.")
    otlp_timeout_s: float = Field(5.0, gt=0, le=60, description="Seconds for one export of traces.")
    service_name: str = Field("gnn-service", min_length=1, max_length=255, description="Name in traces and logs.")
    trace_sample_ratio: float = Field(1.0, ge=0, le=1, description="Share of traces that is kept.")

    @model_validator(mode="after")
    def _traces_have_somewhere_to_go(self) -> Self:
        if self.tracing_enabled and self.otlp_endpoint is None:
            refuse("must have an endpoint when tracing is on", "otlp_endpoint", "tracing_enabled")
        return self
