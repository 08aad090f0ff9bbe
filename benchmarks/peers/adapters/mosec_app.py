"""mosec: HTTP in Rust, Python workers over unix sockets, dynamic batching. BENCH_KIND: json, fast or raw."""

import os

import numpy as np
import orjson
import runtime
import simdjson
from mosec import Server, Worker


class Json(Worker):
    """As its documentation shows it."""

    def __init__(self):
        self.engine = runtime.Engine()

    def forward(self, items):
        return runtime.run_many(self.engine, [runtime.parse(item) for item in items])


class Fast(Json):
    """With the fastest JSON reader and writer that a user could plug in."""

    def __init__(self):
        super().__init__()
        self.parser = simdjson.Parser()

    def deserialize(self, data):
        document = self.parser.parse(data)
        xs, index = document["x"], document["edge_index"]
        x = np.frombuffer(xs.as_buffer(of_type="d"), np.float64).astype(np.float32)
        edges = np.frombuffer(index.as_buffer(of_type="i"), np.int64).reshape(2, -1)
        pair = x.reshape(runtime.N, runtime.C, runtime.T), runtime.to_adj(edges)
        del document, xs, index  # the parser takes the next document only once nothing refers to this one
        return pair

    def forward(self, items):
        return runtime.run_many(self.engine, items)

    def serialize(self, data):
        return orjson.dumps(data)


class Raw(Json):
    """Without any JSON."""

    def deserialize(self, data):
        return runtime.parse_raw(data)

    def forward(self, items):
        out = runtime.run_batch(self.engine, items)
        return [runtime.pack_raw(out, row) for row in range(len(items))]

    def serialize(self, data):
        return data


if __name__ == "__main__":
    kind = {"json": Json, "fast": Fast, "raw": Raw}[os.environ.get("BENCH_KIND", "json")]
    server = Server()
    server.append_worker(
        kind, num=int(os.environ.get("BENCH_WORKERS", "1")), timeout=30,
        max_batch_size=int(os.environ["BENCH_MAX_BATCH"]), max_wait_time=int(os.environ["BENCH_WAIT_MS"]),
    )  # fmt: skip
    server.run()
