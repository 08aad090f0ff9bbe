"""What a service does before it is ready, so that the first caller waits no longer than others."""

import numpy as np

from gnn_service.inference import interpreter
from gnn_service.inference.interpreter import Interpreter, rehearsal
from gnn_service.model.bundle import Bundle


def test_a_rehearsed_window_is_long_enough_to_be_diagnosed():
    ready = Interpreter(Bundle.shipped())
    for machine in ready.bundle.machines.values():
        window = rehearsal(machine)
        assert np.isfinite(window.values).all()
        assert ready.prepare(machine, window).item is not None


def test_getting_ready_diagnoses_every_machine_of_the_bundle(monkeypatch):
    rehearsed = []
    conclude = interpreter.concluded

    def noting(prepared, outputs):
        rehearsed.append(prepared.facts.structure.machine.id)
        return conclude(prepared, outputs)

    monkeypatch.setattr(interpreter, "concluded", noting)
    ready = Interpreter(Bundle.shipped())
    ready.get_ready()
    assert set(rehearsed) == set(ready.bundle.machines)
