"""The graph neural network: one set of weights for every machine, no matter its components, sensors or lines.

A shared encoder reads each sensor; attention pools the sensors of a component into its state; edge-conditioned
attention passes states along the typed lines; heads answer per component. Nothing in it is indexed by a machine's
own ids, so permuting components or sensors permutes the answers and changes nothing else.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gnn_service.model.encode import CHANNELS, CONTEXTS, EVIDENCE_FEATURES, EVIDENCE_SLOTS, Vocabulary
from gnn_service.model.grid import STEPS
from gnn_service.model.heads import Answers, Heads

INPUTS = (
    "readings", "sensor_mask", "sensor_features", "membership", "component_type", "component_mask",
    "evidence", "context", "edges",
)  # fmt: skip
"""Names and order of the network's inputs; the first axis of each is the batch."""

PATCH = 8
NEGATIVE_SLOPE = 0.2


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes of the network. Without ``use_evidence`` it is blind to virtual sensors, for an ablation."""

    sensor_width: int = 48
    width: int = 64
    attention_heads: int = 4
    queries: int = 4
    layers: int = 3
    dropout: float = 0.1
    use_evidence: bool = True

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


class SensorEncoder(nn.Module):
    """One sensor's channels -> one vector; the same weights for every sensor.

    Patches of 8 steps are embedded whole, so that a transient of one step keeps its place; two mixer blocks
    (Tolstikhin et al., *MLP-Mixer*, 2021) relate the patches; FiLM (Perez et al., 2018) tells it what kind of
    sensor it reads. Shapes: (B, S, C, T), (B, S, F) -> (B, S, D).
    """

    def __init__(self, features: int, width: int, out: int, dropout: float) -> None:
        super().__init__()
        self.patches = STEPS // PATCH
        self.embed = nn.Linear(CHANNELS * PATCH, width)
        self.film = nn.Linear(features, 2 * width)
        self.place = nn.Parameter(_phase_features(self.patches, width), requires_grad=False)
        self.token_mix = nn.ModuleList(_mlp(self.patches, 2 * self.patches, dropout) for _ in range(2))
        self.channel_mix = nn.ModuleList(_mlp(width, 2 * width, dropout) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.out = nn.Linear(self.patches * width, out)

    def forward(self, readings: Tensor, features: Tensor) -> Tensor:
        batch, sensors = readings.shape[:2]
        cut = readings.reshape(batch, sensors, CHANNELS, self.patches, PATCH).transpose(2, 3)  # (B, S, P, C, 8)
        x = self.embed(cut.reshape(batch, sensors, self.patches, CHANNELS * PATCH)) + self.place  # (B, S, P, W)
        gain, shift = self.film(features)[:, :, None].chunk(2, dim=-1)  # (B, S, 1, W)
        x = x * (1 + gain) + shift
        for k in range(2):
            x = x + self.token_mix[k](self.norms[2 * k](x).transpose(2, 3)).transpose(2, 3)
            x = x + self.channel_mix[k](self.norms[2 * k + 1](x))
        return self.out(x.reshape(batch, sensors, -1))  # (B, S, D)


class SensorPooling(nn.Module):
    """The sensors of a component -> its state, by attention with several learned queries.

    After Lee et al., *Set Transformer*, 2019. Masked sensors take no part; a component without sensors gets zeros.

    Shapes: (B, S, D), (B, N, S) -> (B, N, D).
    """

    def __init__(self, width: int, queries: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, queries)
        self.value = nn.Linear(width, width)
        self.merge = nn.Linear(queries * width, width)

    def forward(self, sensors: Tensor, membership: Tensor) -> Tensor:
        score = self.score(torch.tanh(sensors)).transpose(1, 2)[:, None]  # (B, 1, Q, S)
        member = membership[:, :, None]  # (B, N, 1, S)
        weight = torch.softmax(score.masked_fill(member < 0.5, -1e4), dim=-1) * member  # (B, N, Q, S)
        pooled = torch.matmul(weight, self.value(sensors)[:, None])  # (B, N, Q, D)
        return self.merge(pooled.flatten(2))  # (B, N, D)


class EdgeAttention(nn.Module):
    """Dense masked GATv2 with typed edges (Brody, Alon, Yahav, *How attentive are graph attention networks?*, 2022).

    e_ij = a . LeakyReLU(W_q x_i + W_k x_j + W_e r_ij), softmax over the j that i hears; value W_v x_j + W_r r_ij.
    Shapes: (B, N, D), (B, N, N, R) -> (B, N, D).

    ``factored`` takes the same sums in another order, sum_j w_ij (W_r r_ij) = W_r (sum_j w_ij r_ij), which needs no
    value for every pair: a fifth to a quarter less time where the model runs. Training keeps the plain order, so
    that the same seed still gives the same weights.
    """

    factored = False

    def __init__(self, width: int, heads: int, relations: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.edge = nn.Linear(relations, 2 * width, bias=False)
        self.attention = nn.Parameter(torch.randn(heads, self.size) / math.sqrt(self.size))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        heard = edges.sum(-1, keepdim=True).clamp(max=1.0)  # (B, N, N, 1)
        if self.factored:
            return self._factored(x, edges, heard)
        batch, nodes, width = x.shape
        in_score, in_value = self.edge(edges).chunk(2, dim=-1)  # (B, N, N, D) each
        pair = self.query(x)[:, :, None] + self.key(x)[:, None] + in_score  # (B, N, N, D)
        pair = nn.functional.leaky_relu(pair, NEGATIVE_SLOPE).reshape(batch, nodes, nodes, self.heads, self.size)
        score = (pair * self.attention).sum(-1).masked_fill(heard < 0.5, -1e4)  # (B, N, N, H)
        weight = (torch.softmax(score, dim=2) * heard)[..., None]  # (B, N, N, H, 1)
        value = (self.value(x)[:, None] + in_value).reshape(batch, nodes, nodes, self.heads, self.size)
        return self.out((weight * value).sum(2).reshape(batch, nodes, width))

    def _factored(self, x: Tensor, edges: Tensor, heard: Tensor) -> Tensor:
        batch, nodes, width = x.shape
        to_score, to_value = self.edge.weight[:width], self.edge.weight[width:]  # (D, R) each
        pair = self.query(x)[:, :, None] + self.key(x)[:, None] + nn.functional.linear(edges, to_score)
        own = (
            torch.eye(self.heads, device=x.device)[:, None] * self.attention[..., None]
        )  # (H, D / H, H): each head reads its part
        score = torch.matmul(nn.functional.leaky_relu(pair, NEGATIVE_SLOPE), own.reshape(width, self.heads))
        score = score.masked_fill(heard < 0.5, -1e4)  # (B, N, N, H)
        weight = (torch.softmax(score, dim=2) * heard).permute(0, 3, 1, 2)  # (B, H, N, N)
        value = self.value(x).reshape(batch, nodes, self.heads, self.size).transpose(1, 2)  # (B, H, N, D / H)
        lines = torch.matmul(weight.transpose(1, 2), edges).transpose(1, 2)  # (B, H, N, R)
        heads = torch.matmul(weight, value) + torch.matmul(lines, to_value.reshape(self.heads, self.size, -1).mT)
        return self.out(heads.transpose(1, 2).reshape(batch, nodes, width))


class GraphLayer(nn.Module):
    """Pre-norm attention and feed-forward, each with a residual, and one virtual node that every component hears."""

    def __init__(self, width: int, heads: int, relations: int, dropout: float) -> None:
        super().__init__()
        self.norm_in, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = EdgeAttention(width, heads, relations)
        self.gather = nn.Linear(width, width)
        self.feed = _mlp(width, 2 * width, dropout)

    def forward(self, x: Tensor, machine: Tensor, edges: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        normed = self.norm_in(x)
        x = x + self.attention(normed, edges)
        mean = (normed * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1.0)  # (B, D)
        machine = machine + torch.relu(self.gather(mean))
        x = x + self.feed(self.norm_out(x + machine[:, None]))
        return x, machine


def set_factored(network: nn.Module, *, on: bool) -> None:
    """Have the attention of a network factored or not; see `EdgeAttention`."""
    for module in network.modules():
        if isinstance(module, EdgeAttention):
            module.factored = on


@contextmanager
def factored(network: nn.Module) -> Iterator[None]:
    """Have it factored within the block, and plain afterwards."""
    set_factored(network, on=True)
    try:
        yield
    finally:
        set_factored(network, on=False)


class MachineNetwork(nn.Module):
    """Readings and description of B machines -> answers. Inputs as `INPUTS`, shapes as `gnn_service.model.encode`."""

    def __init__(self, vocabulary: Vocabulary, architecture: Architecture) -> None:
        super().__init__()
        self.architecture, self.vocabulary = architecture, vocabulary
        width = architecture.width
        self.sensors = SensorEncoder(vocabulary.sensor_features, architecture.sensor_width, width, architecture.dropout)
        self.pooling = SensorPooling(width, architecture.queries)
        self.component_type = nn.Linear(len(vocabulary.component_types), width)
        self.evidence = nn.Linear(EVIDENCE_SLOTS * EVIDENCE_FEATURES, width)
        self.context = nn.Linear(CONTEXTS, width)
        self.layers = nn.ModuleList(
            GraphLayer(width, architecture.attention_heads, vocabulary.relations, architecture.dropout)
            for _ in range(architecture.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.heads = Heads(width, len(vocabulary.modes))

    def forward(
        self,
        readings: Tensor,  # (B, S, C, T)
        sensor_mask: Tensor,  # (B, S)
        sensor_features: Tensor,  # (B, S, F)
        membership: Tensor,  # (B, N, S)
        component_type: Tensor,  # (B, N, Y)
        component_mask: Tensor,  # (B, N)
        evidence: Tensor,  # (B, N, V, 3)
        context: Tensor,  # (B, G)
        edges: Tensor,  # (B, N, N, R)
    ) -> Answers:
        sensors = self.sensors(readings, sensor_features)
        x = self.pooling(sensors, membership * sensor_mask[:, None]) + self.component_type(component_type)
        x = x + self.evidence(evidence.flatten(2) * float(self.architecture.use_evidence))  # (B, N, D)
        machine = self.context(context)  # (B, D)
        for layer in self.layers:
            x, machine = layer(x, machine, edges, component_mask)
        return Answers(*self.heads(self.norm(x), machine, component_mask))


def _mlp(width: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width))


def _phase_features(patches: int, width: int) -> Tensor:
    """Sine and cosine of the place in the cycle, (P, W): the network knows where in the duty cycle it looks."""
    phase = (torch.arange(patches) + 0.5) / patches
    order = torch.arange(1, width // 2 + 1)
    angle = 2 * math.pi * phase[:, None] * order[None] / 2
    return torch.cat([torch.sin(angle), torch.cos(angle)], dim=1)[:, :width] * 0.5
