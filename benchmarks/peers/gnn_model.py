"""The model that every peer serves, and its ONNX graphs: build/model.onnx and build/model_edges.onnx.

One request is x float32 [N=12 nodes, C=4 channels, T=64 samples] and edge_index int64 [2, E]: three strided
convolutions over time, three dense GATv2 layers (4 heads of 32; Brody et al. 2022, arXiv 2105.14491), and heads for
health [N], fault logits [N, 8] and an anomaly score []. 210 k parameters.

model.onnx takes the adjacency [N, N], which an adapter makes of edge_index in Python. model_edges.onnx is the same
graph with that step inside, for a server that has no Python of its user's.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

N, C, T, CLASSES, HIDDEN, HEADS = 12, 4, 64, 8, 128, 4
BUILD = Path(__file__).resolve().parent / "build"


def edges(n=N):
    """A ring and a few chords, both directions, no self loops: [2, E], E = 36 for n = 12."""
    undirected = [(i, (i + 1) % n) for i in range(n)] + [(i, (i + n // 2) % n) for i in range(n // 2)]
    source = [a for a, _ in undirected] + [b for _, b in undirected]
    target = [b for _, b in undirected] + [a for a, _ in undirected]
    return np.array([source, target], dtype=np.int64)


class Encoder(nn.Module):
    """[M, C, T] -> [M, HIDDEN]."""

    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv1d(C, 32, 5, stride=2, padding=2)
        self.c2 = nn.Conv1d(32, 64, 5, stride=2, padding=2)
        self.c3 = nn.Conv1d(64, HIDDEN, 3, stride=2, padding=1)

    def forward(self, x):
        return functional.relu(self.c3(functional.relu(self.c2(functional.relu(self.c1(x)))))).mean(-1)


class DenseGATv2(nn.Module):
    """h [B, N, HIDDEN], bias [B, N, N, 1] -> [B, N, HIDDEN]."""

    def __init__(self):
        super().__init__()
        self.left = nn.Linear(HIDDEN, HIDDEN)
        self.right = nn.Linear(HIDDEN, HIDDEN)
        self.skip = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.attention = nn.Parameter(torch.randn(HEADS, HIDDEN // HEADS) * 0.2)
        self.norm = nn.LayerNorm(HIDDEN)

    def forward(self, h, bias):
        n, width = h.shape[1], HIDDEN // HEADS
        left = self.left(h).view(-1, n, HEADS, width)
        right = self.right(h).view(-1, n, HEADS, width)
        logits = functional.leaky_relu(left.unsqueeze(1) + right.unsqueeze(2), 0.2)  # [B, i, j, H, width]
        weights = torch.softmax((logits * self.attention).sum(-1) + bias, dim=2)  # over j
        heard = torch.matmul(weights.permute(0, 3, 1, 2), left.permute(0, 2, 1, 3))  # [B, H, i, width]
        heard = heard.permute(0, 2, 1, 3).reshape(-1, n, HIDDEN)
        return functional.relu(self.norm(heard + self.skip(h)))


def head(width):
    return nn.Sequential(nn.Linear(HIDDEN, 64), nn.ReLU(), nn.Linear(64, width))


class DenseGNN(nn.Module):
    """x [B, N, C, T], adjacency [B, N, N] of 0 and 1 with self loops -> [B, N], [B, N, CLASSES], [B]."""

    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        self.layers = nn.ModuleList(DenseGATv2() for _ in range(3))
        self.health, self.fault, self.score = head(1), head(CLASSES), head(1)

    def forward(self, x, adj):
        h = self.encoder(x.reshape(-1, C, T)).view(-1, x.shape[1], HIDDEN)
        bias = ((adj - 1.0) * 1e9).unsqueeze(-1)
        for layer in self.layers:
            h = layer(h, bias)
        score = torch.sigmoid(self.score(h.mean(1))).squeeze(-1)
        return torch.sigmoid(self.health(h)).squeeze(-1), self.fault(h), score


class FromEdges(nn.Module):
    """x [B, N, C, T], edge_index [B, 2, E] -> the same answers: the adjacency is scattered inside the graph."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.register_buffer("eye", torch.eye(N).reshape(1, N * N))

    def forward(self, x, edge_index):
        cell = edge_index[:, 1] * N + edge_index[:, 0]  # row: who hears, column: who is heard
        ones = torch.ones_like(cell, dtype=torch.float32)
        flat = self.eye.expand(x.shape[0], N * N)
        return self.model(x, flat.scatter(1, cell, ones).reshape(-1, N, N))


def dense(seed=0):
    torch.manual_seed(seed)
    return DenseGNN().eval()


def export(path, model, second, name, shapes):
    torch.onnx.export(
        model, (torch.randn(2, N, C, T), second), str(path), dynamo=True, external_data=False, verbose=False,
        input_names=["x", name], output_names=["health", "fault", "score"], dynamic_shapes=shapes,
    )  # fmt: skip
    print("wrote", path)


def export_all():
    model = dense()
    print("parameters", sum(p.numel() for p in model.parameters()))
    batch, count = torch.export.Dim("batch", min=1, max=1024), torch.export.Dim("edges", min=1, max=N * N)
    index = torch.from_numpy(edges()).expand(2, 2, -1).contiguous()
    adj = torch.eye(N).expand(2, N, N).contiguous()
    BUILD.mkdir(exist_ok=True)
    export(BUILD / "model.onnx", model, adj, "adj", {"x": {0: batch}, "adj": {0: batch}})
    shapes = {"x": {0: batch}, "edge_index": {0: batch, 2: count}}
    export(BUILD / "model_edges.onnx", FromEdges(model).eval(), index, "edge_index", shapes)


def compare(rounds=60, batches=(1, 16)):
    """The largest difference between the two graphs' answers, and what scattering in the graph costs beside Python."""
    import runtime

    with_adj, with_edges = (runtime.session(str(BUILD / f"{name}.onnx")) for name in ("model", "model_edges"))
    rng, index = np.random.default_rng(0), edges()
    for b in batches:
        x, stacked = rng.standard_normal((b, N, C, T), dtype=np.float32), np.repeat(index[None], b, 0)
        ready = np.repeat(runtime.to_adj(index)[None], b, 0)

        def from_ready(x=x, ready=ready):
            return with_adj.run(None, {"x": x, "adj": ready})

        def in_python(x=x, stacked=stacked):
            return with_adj.run(None, {"x": x, "adj": np.stack([runtime.to_adj(one) for one in stacked])})

        def in_graph(x=x, stacked=stacked):
            return with_edges.run(None, {"x": x, "edge_index": stacked})

        cases = {"adjacency ready-made": from_ready, "made in Python": in_python, "made in the graph": in_graph}
        answers = [case() for case in cases.values()]
        worst = max(float(np.abs(a - z).max()) for a, z in zip(answers[0], answers[2], strict=True))
        spent = {name: [] for name in cases}
        for _ in range(rounds):
            for name, case in cases.items():  # in turns, in the process's own CPU time
                began = time.process_time()
                for _ in range(10):
                    case()
                spent[name].append((time.process_time() - began) / 10 / b * 1e6)
        medians = ", ".join(f"{name} {statistics.median(us):.1f}" for name, us in spent.items())
        print(f"batch {b}: answers differ by at most {worst:.1e}; CPU us a window: {medians}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compare", action="store_true", help="only compare the two graphs, made before")
    if not parser.parse_args().compare:
        export_all()
    compare()
