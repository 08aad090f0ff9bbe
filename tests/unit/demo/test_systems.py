import pytest

from gnn_service.core.errors import InvalidInputError, UnknownMachineError
from gnn_service.demo.systems import get_system, list_systems
from tests.support.tiny_plant import tiny_system


def test_there_are_four_machines():
    assert list_systems() == ("excavator", "moulding", "cnc", "robot")


def test_an_unknown_machine_is_refused_with_a_list_of_those_that_there_are():
    with pytest.raises(UnknownMachineError, match="excavator, moulding, cnc, robot"):
        get_system("submarine")


def test_a_mode_is_found_by_its_short_and_its_full_id_in_any_case():
    system = tiny_system()
    assert system.mode("t1") is system.mode("PUMP_LEAK") is system.modes[0]
    with pytest.raises(InvalidInputError, match=r"T1 \(pump_leak\), T2 \(filter_clogging\)"):
        system.mode("T9")


def test_a_system_gives_sensors_duty_cycle_and_parameters_of_its_description():
    system = tiny_system()
    assert system.sensors == system.machine.sensors
    assert system.duty_cycle is not None
    assert system.duty_cycle.period_s == 5
    assert system.parameters["valve.relief_pressure"] == 350e5
