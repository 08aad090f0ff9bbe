"""MLServer's model with its adaptive batching."""

import numpy as np
import runtime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Gnn(MLModel):
    async def load(self):
        self.engine = runtime.Engine()
        return True

    async def predict(self, payload):
        x, edges = (NumpyCodec.decode_input(given) for given in payload.inputs)  # [b, 12, 4, 64], [b, 2, E]
        adj = np.stack([runtime.to_adj(one) for one in edges.astype(np.int64)])
        health, fault, score = self.engine.run(np.ascontiguousarray(x, dtype=np.float32), adj)
        named = {"health": health, "fault": fault, "score": score[:, None]}
        outputs = [NumpyCodec.encode_output(name, value) for name, value in named.items()]
        return InferenceResponse(model_name=self.name, outputs=outputs)
