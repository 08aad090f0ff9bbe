"""LitServe with its own dynamic batching."""

import os

import litserve
import numpy as np
import runtime


class Api(litserve.LitAPI):
    def setup(self, device):
        self.engine = runtime.Engine()

    def decode_request(self, request):
        return runtime.parse(request)

    def batch(self, inputs):
        return np.stack([pair[0] for pair in inputs]), np.stack([pair[1] for pair in inputs])

    def predict(self, batch):
        if batch[0].ndim == 3:  # one request alone is not batched
            batch = (batch[0][None], batch[1][None])
        return self.engine.run(*batch)

    def unbatch(self, output):
        return [runtime.answer(output, row) for row in range(len(output[2]))]

    def encode_response(self, output):
        return output if isinstance(output, dict) else runtime.answer(output, 0)


if __name__ == "__main__":
    batch_max, wait_s = int(os.environ["BENCH_MAX_BATCH"]), float(os.environ["BENCH_WAIT_MS"]) / 1e3
    api = Api(max_batch_size=batch_max, batch_timeout=wait_s)
    server = litserve.LitServer(api, accelerator="cpu", timeout=30, fast_queue=True)
    server.run(
        host="127.0.0.1", port=int(os.environ["BENCH_PORT"]), num_api_servers=1,
        generate_client_file=False, log_level="warning", access_log=False,
    )  # fmt: skip
