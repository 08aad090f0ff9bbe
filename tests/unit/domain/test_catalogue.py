import pytest

from gnn_service.core.errors import InvalidMachineError
from gnn_service.domain.catalogue import Catalogue, CatalogueMode, catalogue
from gnn_service.domain.units import check_unit, dimension

# The failure modes of the four machines that the product simulates, each on its root component.
MACHINE_MODES = {
    "excavator": [
        ("pump", "internal_leakage"), ("pump", "displacement_control_fault"), ("reservoir", "aeration"),
        ("cylinder", "seal_leakage"), ("valve_block", "spool_sticking"), ("valve_block", "relief_drift"),
        ("heat_exchanger", "fouling"), ("filter", "clogging"), ("hydraulic_motor", "internal_leakage"),
        ("reservoir", "oil_degradation"),
    ],
    "moulding": [
        ("plasticizing_unit", "check_ring_wear"), ("servo_pump", "internal_leakage"), ("accumulator", "gas_loss"),
        ("valve_block", "servo_valve_wear"), ("toggle", "bushing_wear"), ("toggle", "tie_bar_imbalance"),
        ("heater_group", "heater_failure"), ("heat_exchanger", "fouling"), ("cylinder", "seal_leakage"),
        ("plasticizing_unit", "screw_wear"), ("filter", "clogging"),
    ],
    "cnc": [
        ("spindle", "bearing_wear"), ("tool_clamp", "clamp_force_loss"), ("linear_axis", "preload_loss"),
        ("lubrication_unit", "lubrication_starvation"), ("rotary_axis", "clamp_leakage"),
        ("hydraulic_unit", "precharge_loss"), ("chiller", "fouling"), ("chiller", "refrigerant_loss"),
        ("coolant_unit", "pump_wear"), ("coolant_unit", "filter_clogging"), ("linear_axis", "brake_drag"),
        ("drive_cabinet", "cooling_loss"),
    ],
    "robot": [
        ("reducer", "gear_wear"), ("reducer", "lubricant_ageing"), ("counterbalance", "gas_loss"),
        ("reducer", "stiffness_loss"), ("servo_motor", "brake_drag"), ("servo_motor", "brake_weak"),
        ("servo_motor", "torque_loss"), ("gripper", "seal_leakage"), ("servo_motor", "encoder_fault"),
        ("drive_cabinet", "cooling_loss"),
    ],
    "rig": [
        ("heat_exchanger", "fouling"), ("valve_block", "switching_lag"), ("pump", "internal_leakage"),
        ("accumulator", "gas_loss"),
    ],
}  # fmt: skip
ISO_14224 = {
    *("AIR", "BRD", "DOP", "ELP", "ELU", "ERO", "FTI", "IHT", "INL", "LOO", "NOI", "OHE", "PDE", "PLU", "STD", "VIB"),
}


@pytest.mark.parametrize("machine", MACHINE_MODES)
def test_every_mode_of_every_machine_has_its_place(machine):
    for component, mode in MACHINE_MODES[machine]:
        assert catalogue().mode(component, mode).name


def test_the_thirteen_connection_types_stand_in_their_order():
    assert catalogue().connection_type_ids == (
        *("hyd_pressure", "hyd_return", "hyd_suction", "hyd_drain", "mech_shaft", "mech_structure"),
        *("electrical_power", "thermal", "coolant", "pneumatic", "lubricant", "material", "signal"),
    )


def test_every_component_type_can_fail_and_be_measured():
    table = catalogue()
    assert len(table.component_types) == 29
    for kind in table.component_types:
        assert table.modes_of(kind.id), kind.id
        assert kind.sensors, kind.id
        for usual in kind.sensors:
            assert table.quantity(usual.quantity)


def test_every_quantitys_unit_has_the_dimension_that_the_table_says():
    for quantity in catalogue().quantities:
        assert dimension(quantity.unit) == quantity.dimension, quantity.id
        check_unit(quantity.id, quantity.unit)
        assert quantity.sensor.low < quantity.sensor.high


def test_ids_are_unique_in_their_table():
    table = catalogue()
    for ids in (table.component_type_ids, table.connection_type_ids, table.quantity_ids):
        assert len(set(ids)) == len(ids)
    modes = [(mode.component, mode.id) for mode in table.failure_modes]
    assert len(set(modes)) == len(modes)


def test_everything_that_a_table_names_is_in_its_own_table():
    table = catalogue()
    for mode in table.failure_modes:
        assert mode.component in table.component_type_ids
        assert mode.iso14224 in ISO_14224, mode
    for pair in table.neighbours:
        assert {pair.source, pair.target} <= set(table.component_type_ids)
        assert pair.type in table.connection_type_ids
    for virtual in table.virtual_sensors:
        assert table.mode(virtual.component_type, virtual.mode)
        for wanted in virtual.inputs.values():
            assert table.quantity(wanted.quantity)


def test_slow_temperatures_are_context():
    assert catalogue().quantity("temperature").role.value == "context"
    assert catalogue().quantity("pressure").role.value == "evidence"


def test_the_catalogue_survives_its_json_form():
    assert Catalogue.model_validate_json(catalogue().model_dump_json()) == catalogue()


@pytest.mark.parametrize(
    ("look_up", "words"),
    [
        (lambda c: c.component_type("pmp"), "unknown component type 'pmp'; there is: prime_mover, pump"),
        (lambda c: c.connection_type("pipe"), "unknown connection type 'pipe'; there is: hyd_pressure"),
        (lambda c: c.quantity("heat"), "unknown quantity 'heat'; there is: pressure"),
        (lambda c: c.mode("pump", "rust"), "pump has no failure mode 'rust'; it has: internal_leakage"),
    ],
)
def test_a_missing_entry_is_answered_with_what_there_is(look_up, words):
    with pytest.raises(InvalidMachineError, match=words):
        look_up(catalogue())


@pytest.mark.parametrize(
    "steps", [[(0.5, "half")], [(1.0, "all"), (0.5, "half")], [(0.5, "a"), (0.5, "b"), (1.0, "c")]]
)
def test_severity_anchors_must_rise_and_end_at_failure(steps):
    entry = catalogue().mode("pump", "internal_leakage").model_dump()
    entry["anchors"] = [{"severity": severity, "meaning": meaning} for severity, meaning in steps]
    with pytest.raises(ValueError, match="anchors must rise and end at severity 1"):
        CatalogueMode.model_validate(entry)
