import pytest

from gnn_service.demo.parameters import alike, batch_of, nominal, parameters_of
from gnn_service.domain.machine import Machine
from gnn_service.domain.shipped import RIG
from tests.support.tiny_plant import DESCRIPTION, tiny_system


def test_parameters_are_in_si_by_component_and_name():
    parameters = parameters_of(tiny_system().machine)
    assert parameters["valve.relief_pressure"] == pytest.approx(350e5)
    assert parameters["pump.flow"] == pytest.approx(100e-3 / 60)
    assert parameters["pump.k_leak"] == pytest.approx(4e-12)


def test_temperatures_become_kelvin_and_speeds_turns_a_second():
    tank = {"id": "tank", "type": "reservoir", "parameters": {
        "oil": {"value": 40, "unit": "Cel"}, "speed": {"value": 1800, "unit": "1/min"}}}  # fmt: skip
    parameters = parameters_of(Machine.model_validate(DESCRIPTION | {"components": [tank]}))
    assert parameters["tank.oil"] == pytest.approx(313.15)
    assert parameters["tank.speed"] == pytest.approx(30.0)


def test_a_shipped_machine_is_known_by_its_id():
    assert nominal(RIG)["accumulator.charge_pressure"] == pytest.approx(130e5)


def test_the_same_parameters_serve_every_machine_of_a_batch():
    batch = alike({"a.b": 2.0, "a.c": 3.0}, 4)
    assert batch_of(batch) == 4
    assert batch["a.b"].tolist() == [2.0] * 4
