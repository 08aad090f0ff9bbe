"""The one engine that every adapter serves: Engine().run(x [B, N, C, T], adj [B, N, N]) -> three arrays.

BENCH_RUNTIME = ort (default), torch or ov; BENCH_THREADS = 1; BENCH_ONNX = path of model.onnx.
"""

import os
from pathlib import Path

import numpy as np

N, C, T, CLASSES = 12, 4, 64, 8
ONNX = os.environ.get("BENCH_ONNX", str(Path(__file__).resolve().parent / "build" / "model.onnx"))
EYE = np.eye(N, dtype=np.float32)
X_BYTES = N * C * T * 4
"""Of a raw request: x as float32, then edge_index as int64."""


def to_adj(edge_index):
    """[2, E] -> [N, N] with self loops."""
    adj = EYE.copy()
    adj[edge_index[1], edge_index[0]] = 1.0
    return adj


def session(path, threads=1):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if threads == 1 else "1")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class Engine:
    """Loaded and warm at the batch sizes that occur."""

    def __init__(self, kind=None, threads=None):
        self.kind = kind or os.environ.get("BENCH_RUNTIME", "ort")
        threads = int(threads or os.environ.get("BENCH_THREADS", "1"))
        if self.kind == "ort":
            self.session, self.run = session(ONNX, threads), self._ort
        elif self.kind == "ov":
            import openvino

            precision = os.environ.get("BENCH_OV_PRECISION", "f32")
            settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
            compiled = openvino.Core().compile_model(ONNX, "CPU", {**settings, "INFERENCE_PRECISION_HINT": precision})
            self.request, self.run = compiled.create_infer_request(), self._ov
        else:
            import gnn_model
            import torch

            torch.set_num_threads(threads)
            self.torch, self.model, self.run = torch, gnn_model.dense(), self._torch
        for b in (1, 2, 4, 8, 16):
            self.run(np.zeros((b, N, C, T), np.float32), np.repeat(EYE[None], b, 0))

    def _ort(self, x, adj):
        return self.session.run(None, {"x": x, "adj": adj})

    def _ov(self, x, adj):
        answers = self.request.infer([x, adj])
        return [answers[k] for k in range(3)]

    def _torch(self, x, adj):
        with self.torch.inference_mode():
            return [o.numpy() for o in self.model(self.torch.from_numpy(x), self.torch.from_numpy(adj))]


def parse(request):
    """The JSON object of one request -> (x, adj)."""
    x = np.asarray(request["x"], dtype=np.float32).reshape(N, C, T)
    return x, to_adj(np.asarray(request["edge_index"], dtype=np.int64))


def answer(out, row):
    """One window's answers as a JSON object."""
    health, fault, score = out
    return {"health": health[row].tolist(), "fault_logits": fault[row].tolist(), "anomaly": float(score[row])}


def run_batch(engine, pairs):
    """[(x, adj)] -> three arrays."""
    return engine.run(np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs]))


def run_many(engine, pairs):
    """[(x, adj)] -> [JSON object]."""
    out = run_batch(engine, pairs)
    return [answer(out, row) for row in range(len(pairs))]


def parse_raw(body):
    """The bytes of one raw request -> (x, adj)."""
    x = np.frombuffer(body, np.float32, N * C * T).reshape(N, C, T)
    return x, to_adj(np.frombuffer(body, np.int64, offset=X_BYTES).reshape(2, -1))


def pack_raw(out, row):
    """One window's answers as bytes: health [12], fault logits [12, 8], anomaly, all float32."""
    health, fault, score = out
    return health[row].tobytes() + fault[row].tobytes() + np.float32(score[row]).tobytes()


def pack_one(found):
    """The same from a JSON object."""
    fault = [value for row in found["fault_logits"] for value in row]
    return np.array([*found["health"], *fault, found["anomaly"]], np.float32).tobytes()
