"""TorchServe's handler; the server calls `handle` once without data, then with each batch."""

import json
from functools import cache

import runtime


@cache
def engine():
    return runtime.Engine()


def handle(data, _context):
    running = engine()
    if data is None:
        return None
    bodies = [row.get("body", row.get("data")) for row in data]
    requests = [body if isinstance(body, dict) else json.loads(body) for body in bodies]
    return runtime.run_many(running, [runtime.parse(request) for request in requests])
