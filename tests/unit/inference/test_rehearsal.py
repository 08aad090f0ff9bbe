"""What a service does before it is ready, so that the first caller waits no longer than others."""

from dataclasses import replace

import numpy as np
import pytest

from gnn_service.core.config import load_settings
from gnn_service.inference import interpreter
from gnn_service.inference.diagnoser import Diagnoser
from gnn_service.inference.interpreter import Interpreter, rehearsal
from gnn_service.model.bundle import Bundle


def test_a_rehearsed_window_is_long_enough_to_be_diagnosed():
    ready = Interpreter(Bundle.shipped())
    for machine in ready.bundle.machines.values():
        window = rehearsal(machine)
        assert np.isfinite(window.values).all()
        assert ready.prepare(machine, window).item is not None


@pytest.fixture
def rehearsed(monkeypatch):
    """The machines of all diagnoses that are made."""
    machines = []
    conclude = interpreter.concluded

    def noting(prepared, outputs):
        machines.append(prepared.facts.structure.machine.id)
        return conclude(prepared, outputs)

    monkeypatch.setattr(interpreter, "concluded", noting)
    return machines


def test_getting_ready_diagnoses_every_machine_of_the_bundle(rehearsed):
    ready = Interpreter(Bundle.shipped())
    ready.get_ready()
    assert set(rehearsed) == set(ready.bundle.machines)


@pytest.mark.parametrize("iterations", [0, 1])
async def test_without_warm_up_nothing_is_rehearsed_neither_for_the_next_bundle(iterations, rehearsed):
    bundle = Bundle.shipped()
    following = replace(bundle, manifest={**bundle.manifest, "version": "another"})
    async with Diagnoser.open(load_settings(inference={"warmup_iterations": iterations}), bundle) as diagnoser:
        first = len(rehearsed)
        await diagnoser.activate(following)
        await diagnoser.shadow(bundle)
    assert bool(first) == bool(iterations)
    assert len(rehearsed) == 3 * first
