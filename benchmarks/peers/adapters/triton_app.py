"""Triton through pytriton, with its dynamic batcher."""

import os
import sysconfig

# The bundled stub must load the libpython of this very interpreter, not the distribution's.
_LIBRARIES = (sysconfig.get_config_var("LIBDIR"), os.environ.get("LD_LIBRARY_PATH", ""))
os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(_LIBRARIES)

import numpy as np  # noqa: E402 - after the library path
import runtime  # noqa: E402
from pytriton.decorators import batch  # noqa: E402
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor  # noqa: E402
from pytriton.triton import Triton, TritonConfig  # noqa: E402

engine = runtime.Engine()


@batch
def infer(x, edge_index):
    adj = np.stack([runtime.to_adj(edges) for edges in edge_index])
    health, fault, score = engine.run(x, adj)
    return {"health": health, "fault": fault, "score": score[:, None]}


def main():
    port, wait_us = int(os.environ["BENCH_PORT"]), int(float(os.environ["BENCH_WAIT_MS"]) * 1000)
    config = TritonConfig(
        http_address="127.0.0.1", http_port=port, grpc_address="127.0.0.1", grpc_port=port + 1, metrics_port=port + 2,
        allow_metrics=False, log_verbose=0, http_thread_count=int(os.environ.get("BENCH_HTTP_THREADS", "2")),
    )  # fmt: skip
    inputs = [Tensor(name="x", dtype=np.float32, shape=(runtime.N, runtime.C, runtime.T))]
    inputs += [Tensor(name="edge_index", dtype=np.int64, shape=(2, -1))]
    shapes = {"health": (runtime.N,), "fault": (runtime.N, runtime.CLASSES), "score": (1,)}
    outputs = [Tensor(name=name, dtype=np.float32, shape=shape) for name, shape in shapes.items()]
    batcher = DynamicBatcher(max_queue_delay_microseconds=wait_us)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="gnn", infer_func=infer, inputs=inputs, outputs=outputs,
            config=ModelConfig(max_batch_size=int(os.environ["BENCH_MAX_BATCH"]), batcher=batcher),
        )  # fmt: skip
        triton.serve()


main()
