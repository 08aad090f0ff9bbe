"""Fitting the network's temperature and the fusion weights on validation groups."""

import numpy as np
from numpy.typing import NDArray

from gnn_service.model.judge import TINY, Fusion, fuse, level_probabilities

TEMPERATURES = np.geomspace(0.25, 8.0, 31)
SHARPNESS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
WEIGHTS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)
LEAST_WINDOWS = 20
PRIOR_WINDOWS = 2.0
"""A tie between weights goes to the milder answer: this many windows' worth of a uniform answer is mixed in."""


def fit_fusion(
    logits: NDArray[np.float64],
    physics: NDArray[np.float64] | None,
    usable: NDArray[np.bool_],
    level: NDArray[np.int64],
    severities: tuple[float, ...],
) -> Fusion:
    """Temperature by the network's own likelihood, the weight of physics alone by its own, the rest by the pool's.

    ``logits`` (W, K) cumulative, ``physics`` (W, L) or None, ``level`` (W,) true levels of validation windows.
    With fewer than 20 windows nothing is fitted.
    """
    if len(level) < LEAST_WINDOWS:
        return Fusion()
    losses = [negative_log_likelihood(level_probabilities(logits / t, severities), level) for t in TEMPERATURES]
    temperature = float(TEMPERATURES[int(np.argmin(losses))])
    if physics is None:
        return Fusion(temperature=temperature)
    network = level_probabilities(logits / temperature, severities)
    alone = _sharpness(physics[usable], level[usable])
    best, chosen = np.inf, Fusion(temperature=temperature, alone=alone)
    for network_weight in WEIGHTS:
        for physics_weight in WEIGHTS:
            candidate = Fusion(temperature, network_weight, physics_weight, alone)
            loss = negative_log_likelihood(fuse(network, physics, usable, np.ones(len(level)), candidate), level)
            if network_weight + physics_weight > 0 and loss < best - 1e-6:
                best, chosen = loss, candidate
    return chosen


def _sharpness(physics: NDArray[np.float64], level: NDArray[np.int64]) -> float:
    """The power of the physics' probabilities that makes the true levels likeliest; 1 with too few windows."""
    if len(level) < LEAST_WINDOWS:
        return 1.0

    def loss(power: float) -> float:
        sharpened = np.maximum(physics, TINY) ** power
        return negative_log_likelihood(sharpened / sharpened.sum(1, keepdims=True), level)

    return min(SHARPNESS, key=loss)


def negative_log_likelihood(probability: NDArray[np.float64], level: NDArray[np.int64]) -> float:
    """Mean -log p(true level), mixed with a uniform answer so that one confident miss does not decide alone."""
    share = PRIOR_WINDOWS / (len(level) + PRIOR_WINDOWS)
    chosen = probability[np.arange(len(level)), level] * (1 - share) + share / probability.shape[1]
    return float(-np.log(chosen).mean())
