"""BentoML with its batchable API."""

import os

import bentoml
import runtime

TRAFFIC = {"timeout": 30, "max_concurrency": 1000}


@bentoml.service(workers=1, traffic=TRAFFIC, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Gnn:
    def __init__(self):
        self.engine = runtime.Engine()

    @bentoml.api(
        batchable=True,
        max_batch_size=int(os.environ["BENCH_MAX_BATCH"]),
        max_latency_ms=int(os.environ["BENCH_WAIT_MS"]),
    )
    def predict(self, items: list[dict]) -> list[dict]:
        return runtime.run_many(self.engine, [runtime.parse(item) for item in items])
