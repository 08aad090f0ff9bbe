"""What a machine description knows about itself."""

from gnn_service.domain.machine import Machine
from gnn_service.domain.shipped import RIG, shipped_machine


def test_a_changed_copy_of_a_machine_remembers_nothing_of_the_original():
    machine = shipped_machine(RIG)
    before = (machine.fingerprint, machine.sensor_ids, machine.component_ids)
    copy = machine.model_copy(update={"sensors": machine.sensors[:2], "components": machine.components[:3]})
    assert copy.sensor_ids == before[1][:2]
    assert copy.component_ids == before[2][:3]
    assert copy.fingerprint != before[0]
    assert (machine.fingerprint, machine.sensor_ids, machine.component_ids) == before


def test_equal_descriptions_have_equal_fingerprints():
    machine = shipped_machine(RIG)
    assert Machine.model_validate(machine.model_dump()).fingerprint == machine.fingerprint
    assert machine.model_copy(deep=True).fingerprint == machine.fingerprint
