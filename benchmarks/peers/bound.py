"""The bare model in a tight loop, no server: windows a second by runtime, batch and threads.

    python bound.py [--kinds ort,ov] [--threads 1,2] [--batches 1,16,64] [--json FILE]

Interleaved: every round runs every configuration once; medians over the rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import runtime

KINDS = "eager,compile,bf16,ort,ov,ov-bf16"


def make(kind, threads, batch):
    """A function that runs one batch."""
    x = np.random.default_rng(0).standard_normal((batch, runtime.N, runtime.C, runtime.T), dtype=np.float32)
    ring = np.array([list(range(runtime.N)), [(k + 1) % runtime.N for k in range(runtime.N)]])
    adj = np.repeat(runtime.to_adj(ring)[None], batch, 0)
    if kind not in {"eager", "compile", "bf16"}:
        if kind == "ov-bf16":
            os.environ["BENCH_OV_PRECISION"] = "bf16"
        engine = runtime.Engine(kind.partition("-")[0], threads)
        return lambda: engine.run(x, adj)
    import gnn_model
    import torch

    torch.set_num_threads(threads)
    model = torch.compile(gnn_model.dense()) if kind == "compile" else gnn_model.dense()
    given = torch.from_numpy(x), torch.from_numpy(adj)

    def run():
        narrow = torch.autocast("cpu", torch.bfloat16) if kind == "bf16" else nullcontext()
        with torch.inference_mode(), narrow:
            return model(*given)

    return run


def measure(run, batch, seconds):
    for _ in range(5):
        run()
    took, began, cpu_began = [], time.perf_counter(), time.process_time()
    last = began
    while last - began <= seconds:
        run()
        now = time.perf_counter()
        took.append(now - last)
        last = now
    cpu = time.process_time() - cpu_began
    p50, p99 = np.percentile(took, (50, 99)) * 1e3
    windows = batch * len(took)
    return {"wps": windows / (last - began), "wps_cpu": windows / cpu, "p50_ms": p50, "p99_ms": p99}


class Child:
    """One configuration in a process of its own; answers one line for each batch size that it is asked for."""

    def __init__(self, kind, threads, batches, seconds):
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        listed = ",".join(map(str, batches))
        options = ["--one", f"{kind},{threads}", "--batches", listed, "--secs", str(seconds)]
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env,
        )  # fmt: skip
        said = self._line()
        if "ready" not in said:
            raise RuntimeError(f"{kind} with {threads} threads does not start: {said}")

    def ask(self, batch):
        self.process.stdin.write(f"{batch}\n")
        self.process.stdin.flush()

    def told(self):
        return self._line()

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)

    def _line(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        return {"error": "it ended"}


class Bound:
    """Two children with the bare ONNX graph on one thread: one alone, then both together, which is two cores' bound."""

    def __init__(self):
        self.children = [Child("ort", 1, (1, 16), 0.6) for _ in range(2)]

    def get(self):
        def together(children, batch):
            for child in children:
                child.ask(batch)
            told = [child.told() for child in children]
            return sum(one["wps"] for one in told), statistics.mean(one["wps_cpu"] for one in told)

        one, full, two = (
            together(c, b) for c, b in ((self.children[:1], 1), (self.children[:1], 16), (self.children, 16))
        )
        names = ("b1", "b1_cpu", "b16", "b16_cpu", "b16x2", "b16x2_cpu")
        return dict(zip(names, (*one, *full, *two), strict=True))

    def close(self):
        for child in self.children:
            child.close()


def serve_one(kind, threads, batches, seconds):
    warnings.filterwarnings("ignore")
    try:
        runs = {batch: make(kind, threads, batch) for batch in batches}
        for run in runs.values():
            run()
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent shows it
        print(json.dumps({"error": repr(error)[:300]}), flush=True)
        return
    print(json.dumps({"ready": 1}), flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(runs[int(line)], int(line), seconds)), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--secs", type=float, default=0.7)
    parser.add_argument("--kinds", default=KINDS)
    parser.add_argument("--threads", default="1")
    parser.add_argument("--batches", default="1,16,64")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help="used by this program itself: kind,threads")
    given = parser.parse_args()
    batches = [int(batch) for batch in given.batches.split(",")]
    if given.one:
        kind, threads = given.one.split(",")
        serve_one(kind, int(threads), batches, given.secs)
        return
    children, told = {}, {}
    for kind in given.kinds.split(","):
        for threads in map(int, given.threads.split(",")):
            try:
                children[kind, threads] = Child(kind, threads, batches, given.secs)
            except RuntimeError as error:
                print(error, flush=True)
    for _ in range(given.rounds):
        for key, child in children.items():
            for batch in batches:
                child.ask(batch)
                told.setdefault((*key, batch), []).append(child.told())
    for child in children.values():
        child.close()
    rows = []
    for (kind, threads, batch), runs in told.items():
        middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        rows.append({"runtime": kind, "threads": threads, "batch": batch, **middle})
        print(
            f"{kind:10s} threads {threads} batch {batch:3d} {middle['wps']:8.0f} windows/s"
            f" {middle['wps_cpu']:8.0f} a CPU second  p50 {middle['p50_ms']:.3f} ms  p99 {middle['p99_ms']:.3f} ms"
        )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
