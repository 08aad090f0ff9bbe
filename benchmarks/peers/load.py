"""Requests to a server: the prepared bodies, wrk over them, and whether every answer belongs to its own request."""

import json
import os
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
PAYLOADS = HERE / "build" / "payloads"
TOLERANCE = 1e-3


@cache
def headers(kind):
    lines = (PAYLOADS / kind / "headers.txt").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines)


@cache
def body(kind, number):
    return (PAYLOADS / kind / f"{number:02d}.body").read_bytes()


@cache
def expected():
    return json.loads((PAYLOADS / "expected.json").read_text())


def post(url, kind, number, timeout=10):
    """Body and headers of the answer."""
    request = urllib.request.Request(url, body(kind, number), headers(kind))
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return answer.read(), {name.lower(): value for name, value in answer.headers.items()}


def decode(kind, answer, told):
    """-> health [12], fault [12, 8], score."""
    if kind == "raw":
        values = np.frombuffer(answer, np.float32)
        return values[:12], values[12:108].reshape(12, 8), float(values[108])
    if kind.startswith("v2"):
        at = int(told.get("inference-header-content-length", len(answer)))
        found = {}
        for tensor in json.loads(answer[:at])["outputs"]:
            if "data" in tensor:
                found[tensor["name"]] = np.array(tensor["data"], np.float32)
                continue
            size = tensor["parameters"]["binary_data_size"]
            found[tensor["name"]] = np.frombuffer(answer, np.float32, size // 4, at)
            at += size
        return found["health"].ravel(), found["fault"].reshape(12, 8), float(found["score"].ravel()[0])
    value = json.loads(answer)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return np.array(value["health"]), np.array(value["fault_logits"]), float(value["anomaly"])


def verify(url, kind, count=64, callers=32):
    """Many answers at once, each compared with its own window's: None, or what is wrong."""

    def one(k):
        number = k % len(expected())
        health, fault, score = decode(kind, *post(url, kind, number))
        right = expected()[number]
        return max(
            np.abs(health - right["health"]).max(),
            np.abs(fault - np.array(right["fault_logits"])).max(),
            abs(score - right["anomaly"]),
        )

    try:
        with ThreadPoolExecutor(callers) as pool:
            worst = max(pool.map(one, range(count)))
    except Exception as error:  # noqa: BLE001 - whatever a server answers, it is reported and not raised
        return repr(error)[:200]
    return None if worst < TOLERANCE else f"answers differ by {worst}"


def wrk(url, kind, callers, seconds):
    """One closed loop; post.lua prints its figures."""
    command = ["wrk", "-t1", f"-c{callers}", f"-d{seconds}s", "--timeout", "10s", "-s", str(HERE / "post.lua"), url]
    env = {**os.environ, "BODY_DIR": str(PAYLOADS / kind)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=seconds + 30, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    raise RuntimeError(done.stdout[-300:] + done.stderr[-300:])
