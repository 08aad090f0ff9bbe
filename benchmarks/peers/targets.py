"""The servers that bench.py can start. Add one by adding a line; or point bench.py at a running one with --url.

Each has a name; a venv (a folder under $PEERS_VENVS, or an absolute path); a command, in which {py}, {bin}, {port} and
{here} are filled in; the paths of its payload kinds; and settings for its environment. Every adapter serves
runtime.Engine (ONNX Runtime, one thread), by default in batches of up to 16 that wait at most 50 ms, as our service
was asked to; the -tuned ones with the best settings that we found.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = os.environ.get("OURS_VENV", str(ROOT / ".venv"))
ADAPTERS = "{here}/adapters/"
PREDICT = {"json": "/predict"}
V2 = dict.fromkeys(("v2json", "v2bin"), "/v2/models/gnn/infer")
V2_JSON = {"v2json": "/v2/models/gnn/infer"}  # MLServer's REST server knows no binary tensors
RAW_TOO = {**PREDICT, "raw": "/raw"}
LISTEN = ["--host", "127.0.0.1", "--port", "{port}"]

UVICORN = ["{py}", "-m", "uvicorn", *LISTEN, "--log-level", "error", "--no-access-log", "--app-dir", ADAPTERS]
LITSERVE = ["{py}", ADAPTERS + "litserve_app.py"]
BENTOML = ["{bin}/bentoml", "serve", "bentoml_app:Gnn", *LISTEN, "--working-dir", ADAPTERS]
MLSERVER = [ADAPTERS + "mlserver_run.sh"]
RAY = ["{py}", ADAPTERS + "ray_app.py"]
TRITON = ["{py}", ADAPTERS + "triton_app.py"]
MOSEC = ["{py}", ADAPTERS + "mosec_app.py", "--address", "127.0.0.1", "--port", "{port}", "--log-level", "warning"]
SERVE = ["{bin}/gnn-service", "serve", *LISTEN, "--onnx", "gnn={here}/build/model_edges.onnx"]

ALL = {}


def add(name, venv, cmd, urls, **env):
    settings = {"BENCH_MAX_BATCH": "16", "BENCH_WAIT_MS": "50", **env}
    ALL[name] = {"name": name, "venv": venv, "cmd": cmd, "urls": urls, "env": settings}


# The service of this repository, validation, metrics, breaker and deadlines on; any GNN_* of the caller is passed on.
add("ours", OURS, SERVE, V2, GNN_MODEL__RUNTIME="onnxruntime", GNN_MODEL__DEVICE="cpu")
add("ours-ov", OURS, SERVE, V2, GNN_MODEL__RUNTIME="openvino", GNN_MODEL__DEVICE="cpu")

add("fastapi", "fastapi", [*UVICORN, "fastapi_plain:app"], RAW_TOO)
add("fastapi-2w", "fastapi", [*UVICORN, "--workers", "2", "fastapi_plain:app"], RAW_TOO)
add("litserve", "litserve", LITSERVE, PREDICT)
add("litserve-tuned", "litserve", LITSERVE, PREDICT, BENCH_WAIT_MS="1")
add("bentoml", "bentoml", BENTOML, {"bento": "/predict"})
add("bentoml-tuned", "bentoml", BENTOML, {"bento": "/predict"}, BENCH_WAIT_MS="1000")
add("mlserver", "mlserver", MLSERVER, V2_JSON)
add("mlserver-tuned", "mlserver", MLSERVER, V2_JSON, BENCH_WAIT_MS="1")
add("ray", "ray", RAY, {"json": "/", "raw": "/raw"})
add("ray-tuned", "ray", RAY, {"json": "/", "raw": "/raw"}, BENCH_WAIT_MS="1")
add("triton", "triton", TRITON, V2)
add("triton-tuned", "triton", TRITON, V2, BENCH_WAIT_MS="0")
add("torchserve", "torchserve", [ADAPTERS + "torchserve_run.sh"], {"json": "/predictions/gnn"})
TUNED_MOSEC = {"BENCH_WAIT_MS": "1", "BENCH_WORKERS": "2", "BENCH_KIND": "fast"}
add("mosec", "mosec", MOSEC, {"json": "/inference"})
add("mosec-tuned", "mosec", MOSEC, {"json": "/inference"}, **TUNED_MOSEC)
add("mosec-tuned-ov", "mosec", MOSEC, {"json": "/inference"}, **TUNED_MOSEC, BENCH_RUNTIME="ov")
add("mosec-raw", "mosec", MOSEC, {"raw": "/inference"}, BENCH_WAIT_MS="1", BENCH_KIND="raw")
