"""Request bodies under build/payloads/, 16 different windows each, and expected.json with their answers.

json/    {"x": nested [12][4][64] with the shortest float32 text, "edge_index": [[..], [..]]}
bento/   {"items": [the same object]}
v2json/  the Open Inference Protocol V2 in JSON
v2bin/   the same with binary tensors (JSON head, then raw bytes)
raw/     x as float32 bytes, then edge_index as int64 bytes
Each folder has NN.body and headers.txt ('Name: value' lines).
"""

import json
from pathlib import Path

import gnn_model
import numpy as np
import orjson
import runtime

COUNT = 16
OUT = Path(__file__).resolve().parent / "build" / "payloads"
JSON = {"Content-Type": "application/json"}
BYTES = {"Content-Type": "application/octet-stream"}


def put(kind, number, body, headers):
    folder = OUT / kind
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number:02d}.body").write_bytes(body)
    (folder / "headers.txt").write_text("".join(f"{name}: {value}\n" for name, value in headers.items()))


def dump(value):
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def put_v2(number, x, index):
    arrays = [("x", "FP32", x[None]), ("edge_index", "INT64", index[None])]
    inputs = [{"name": name, "shape": array.shape, "datatype": kind} for name, kind, array in arrays]
    flat = [{**entry, "data": array.ravel()} for entry, (_, _, array) in zip(inputs, arrays, strict=True)]
    put("v2json", number, dump({"inputs": flat}), JSON)
    sized = [
        {**entry, "parameters": {"binary_data_size": array.nbytes}}
        for entry, (_, _, array) in zip(inputs, arrays, strict=True)
    ]
    head = dump({"inputs": sized, "parameters": {"binary_data_output": True}})
    body = head + b"".join(array.tobytes() for _, _, array in arrays)
    put("v2bin", number, body, {**BYTES, "Inference-Header-Content-Length": len(head)})


def main():
    rng, index = np.random.default_rng(7), gnn_model.edges()
    t = np.arange(runtime.T) / runtime.T
    engine, expected = runtime.Engine("ort", 1), []
    shape = (runtime.N, runtime.C, 1)
    for k in range(COUNT):
        wave = np.sin(2 * np.pi * t * rng.uniform(1, 9, shape) + rng.uniform(0, 6, shape))
        x = (wave + 0.1 * rng.standard_normal((runtime.N, runtime.C, runtime.T))).astype(np.float32)
        request = {"x": x, "edge_index": index}
        put("json", k, dump(request), JSON)
        put("bento", k, dump({"items": [request]}), JSON)  # BentoML's batchable API takes a list
        put("raw", k, x.tobytes() + index.tobytes(), BYTES)
        put_v2(k, x, index)
        expected.append(runtime.answer(engine.run(x[None], runtime.to_adj(index)[None]), 0))
    (OUT / "expected.json").write_text(json.dumps(expected))
    for folder in sorted(path for path in OUT.iterdir() if path.is_dir()):
        print(folder.name, (folder / "00.body").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
