"""Ray Serve with `serve.batch`."""

import os
import signal
import tempfile
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported

import ray
import runtime
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

BATCH_MAX, WAIT_S = int(os.environ["BENCH_MAX_BATCH"]), float(os.environ["BENCH_WAIT_MS"]) / 1e3


@serve.deployment(num_replicas=1, max_ongoing_requests=512, ray_actor_options={"num_cpus": 1})
class Gnn:
    def __init__(self):
        self.engine = runtime.Engine()

    @serve.batch(max_batch_size=BATCH_MAX, batch_wait_timeout_s=WAIT_S)
    async def batch(self, pairs):
        return runtime.run_many(self.engine, pairs)

    async def __call__(self, request: Request):
        if request.url.path == "/raw":
            return Response(runtime.pack_one(await self.batch(runtime.parse_raw(await request.body()))))
        return await self.batch(runtime.parse(await request.json()))


if __name__ == "__main__":
    scratch = os.environ.get("BENCH_RAY_TMP", str(Path(tempfile.gettempdir()) / "ray-bench"))
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1",
        object_store_memory=200 * 2**20, _temp_dir=scratch,
    )  # fmt: skip
    quiet = {"enable_access_log": False}
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["BENCH_PORT"])}, logging_config=quiet)
    serve.run(Gnn.options(logging_config=quiet).bind(), route_prefix="/")
    signal.pause()
