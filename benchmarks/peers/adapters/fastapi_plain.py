"""The usual hand-written service: FastAPI and pydantic, a `def` endpoint (thread pool), no batching."""

import runtime
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

app, engine = FastAPI(), runtime.Engine()


class Body(BaseModel):
    x: list[list[list[float]]]
    edge_index: list[list[int]]


@app.post("/predict")
def predict(body: Body):
    pair = runtime.parse({"x": body.x, "edge_index": body.edge_index})
    return runtime.answer(runtime.run_batch(engine, [pair]), 0)


@app.post("/raw")
async def raw(request: Request):
    pair = runtime.parse_raw(await request.body())
    return Response(runtime.pack_raw(runtime.run_batch(engine, [pair]), 0))
