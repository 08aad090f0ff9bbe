"""From a machine and its windows to the network's inputs."""

import numpy as np
import pytest

from gnn_service.core.errors import InvalidMachineError
from gnn_service.domain.machine import Component, SensorRole
from gnn_service.model.encode import (
    CHANNELS,
    CONTEXTS,
    EVIDENCE_FEATURES,
    EVIDENCE_SLOTS,
    NODE_BUCKETS,
    SENSOR_BUCKETS,
    Structure,
    encode,
    local_level,
    relief_share,
    sensor_channels,
)
from gnn_service.model.evidence import VirtualSensors
from gnn_service.model.grid import CYCLE_STEPS, STEPS
from tests.support.duty_cycle import Cycle, grids, rig
from tests.support.tiny_model import CALIBRATIONS, HEALTHY, healthy_baseline, vocabulary

U, D, W, E, PRESENT = range(CHANNELS)


def row(sensor):
    return rig().sensor_ids.index(sensor)


def structure(machine=None, wiring="true"):
    return Structure(machine or rig(), vocabulary(), wiring)


def moving(*cycles, baseline=None, noise=0.0):
    values = grids(cycles, noise=noise)
    evidence = VirtualSensors.of(rig(), CALIBRATIONS).read(values, baseline)
    return encode(structure(), values, baseline, evidence)


def test_inputs_have_the_shapes_that_the_network_takes():
    found = {**structure().arrays, **moving(Cycle(), Cycle())}
    words = vocabulary()
    assert {name: value.shape for name, value in found.items()} == {
        "component_type": (16, len(words.component_types)),
        "component_mask": (16,),
        "edges": (16, 16, 2 * len(words.connection_types) + 1),
        "membership": (16, 16),
        "sensor_features": (16, words.sensor_features),
        "readings": (2, 16, CHANNELS, STEPS),
        "sensor_mask": (2, 16),
        "evidence": (2, 16, EVIDENCE_SLOTS, EVIDENCE_FEATURES),
        "context": (2, CONTEXTS),
    }
    assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}


def test_derived_sensors_never_reach_the_network():
    """CE and CP are computed from what the cooler does: they would give its state away."""
    seen = [rig().sensors[k].id for k in structure().rows]
    assert [s.id for s in rig().sensors if s.role is SensorRole.DERIVED] == ["CE", "CP", "SE"]
    assert not {"CE", "CP", "SE"} & set(seen)
    values = grids([Cycle()])
    other = values.copy()
    other[:, [row("CE"), row("CP"), row("SE")]] = 7.0
    one, two = (encode(structure(), v, healthy_baseline(), ()) for v in (values, other))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_a_line_is_heard_downstream_as_it_is_and_upstream_as_its_reverse():
    kinds = vocabulary().connection_types
    edges, node = structure().arrays["edges"], structure().node_of
    pipe = kinds.index("hyd_pressure")
    assert edges[node["accumulator"], node["pump"], pipe] == 1
    assert edges[node["pump"], node["accumulator"], len(kinds) + pipe] == 1
    assert edges[node["pump"], node["accumulator"], pipe] == 0
    assert edges.sum() == 2 * len(rig().connections) + len(rig().components)


def test_without_wiring_a_component_hears_itself_alone():
    edges = structure(wiring="none").arrays["edges"]
    count = len(rig().components)
    assert edges.sum() == count
    assert (edges[np.arange(count), np.arange(count), -1] == 1).all()


def test_shuffled_wiring_keeps_the_number_of_lines_and_loses_their_places():
    true, shuffled = structure().arrays["edges"], structure(wiring="shuffled").arrays["edges"]
    assert shuffled.sum() == true.sum()
    assert not np.array_equal(shuffled, true)
    assert np.array_equal(structure(wiring="shuffled").arrays["edges"], shuffled)
    seeds = [Structure(rig(), vocabulary(), "shuffled", seed).arrays["edges"].tobytes() for seed in range(5)]
    assert len(set(seeds)) == 5, "each run shuffles in its own way"


def test_padding_belongs_to_nobody():
    arrays, count = structure().arrays, len(rig().components)
    assert arrays["component_mask"].tolist() == [1.0] * count + [0.0] * (16 - count)
    assert arrays["edges"][count:].sum() == arrays["edges"][:, count:].sum() == 0
    assert arrays["membership"][count:].sum() == 0
    assert arrays["membership"].sum(0).tolist() == [1.0] * 14 + [0.0] * 2


@pytest.mark.parametrize("count, size", [(1, 16), (16, 16), (17, 24), (33, 48), (64, 64)])
def test_machines_are_padded_to_few_sizes(count, size):
    parts = tuple(Component(id=f"c{k}", type="pump") for k in range(count))
    machine = rig().model_copy(update={"components": parts, "connections": (), "sensors": (), "failure_modes": ()})
    assert structure(machine).nodes == size
    assert structure(machine).sensors == SENSOR_BUCKETS[0]


def test_a_machine_that_is_too_large_is_refused_with_the_limit():
    parts = tuple(Component(id=f"c{k}", type="pump") for k in range(NODE_BUCKETS[-1] + 1))
    machine = rig().model_copy(update={"components": parts, "connections": (), "sensors": (), "failure_modes": ()})
    with pytest.raises(InvalidMachineError, match="65 components are more than the 64 the network takes; split"):
        structure(machine).arrays  # noqa: B018 - computed when asked for


def test_a_healthy_cycle_lies_near_its_own_baseline_in_every_channel():
    channels = sensor_channels(rig(), grids([HEALTHY], noise=1.0, seed=5), healthy_baseline())
    assert np.abs(channels[0, :, [D, E]]).mean() < 1.0


def test_a_late_valve_stands_out_where_it_switches():
    channels = sensor_channels(rig(), grids([Cycle(charge_bar=130.0, delay_s=0.6)]), healthy_baseline())
    surprise = np.abs(channels[0, row("PS2"), E])
    assert surprise.argmax() == 9
    assert surprise[9] > 2 * np.delete(surprise, 9).max()


def test_without_a_reference_the_channels_that_need_one_are_zero():
    channels = sensor_channels(rig(), grids([Cycle()]), None)
    assert not channels[:, :, [D, E]].any()
    assert channels[0, row("PS2"), W, 9] != 0


def test_missing_readings_are_zero_and_marked():
    channels = sensor_channels(rig(), grids([Cycle(missing=("PS3",))]), healthy_baseline())
    assert not channels[0, row("PS3")].any()
    assert channels[0, row("PS1"), PRESENT].all()
    found = moving(Cycle(missing=("PS3",)), Cycle())
    column = structure().rows.tolist().index(row("PS3"))
    assert found["sensor_mask"][:, column].tolist() == [0.0, 1.0]
    assert not found["readings"][0, column].any()


def test_a_wild_reading_stays_finite():
    values = grids([Cycle()])
    values[0, row("PS1"), 30] = 3e38
    values[0, row("FS1"), 30] = -3e38
    with np.errstate(over="ignore"):
        channels = sensor_channels(rig(), values, healthy_baseline())
    assert np.isfinite(channels).all()
    assert np.abs(channels).max() < 200


def test_the_local_level_is_that_of_the_nearest_plateau():
    level = local_level(rig(), grids([Cycle()]))[0, row("PS1")]
    assert level[[0, 5, 10]] == pytest.approx([188.0] * 3, abs=0.1)
    assert level[[15, 19]] == pytest.approx([151.0] * 2, abs=0.1)
    assert level[[55, 59]] == pytest.approx([161.0] * 2, abs=0.1)


def test_without_plateaus_the_local_level_is_the_mean_of_the_window():
    machine = rig().model_copy(update={"duty_cycle": None})
    values = grids([Cycle()])
    assert local_level(machine, values)[0, row("PS1")] == pytest.approx(values[0, row("PS1")].mean(), rel=1e-5)


def test_physics_lands_on_its_component_with_severity_doubt_and_validity():
    found = moving(Cycle(charge_bar=90.0, missing=("PS2",)))["evidence"][0]
    node = structure().node_of
    severity, doubt, valid = found[node["accumulator"], 0]
    assert severity > 0.7
    assert 0 <= doubt < 0.75
    assert valid == 1
    assert not found[node["valve"]].any()
    assert not found[node["cooler"]].any()


def test_context_tells_no_reference_from_the_kinds_from_the_own():
    contexts = [
        moving(Cycle(), baseline=b)["context"][0, :2] for b in (None, healthy_baseline("reference"), healthy_baseline())
    ]
    assert [c.tolist() for c in contexts] == [[0, 0], [1, 0], [1, 1]]


@pytest.mark.parametrize("relief, share", [((), 0.0), ((2,), 0.2), ((2, 3, 4), 0.6)])
def test_relief_mode_is_seen_on_the_plateaus_where_it_is(relief, share):
    assert relief_share(rig(), grids([Cycle(relief=relief)])) == pytest.approx([share])


def test_a_lost_supply_pressure_is_no_relief_mode():
    lost = relief_share(rig(), grids([Cycle(missing=("PS1", "PS2", "PS3"))]))
    assert lost.tolist() == [0.0]


def test_a_pressure_that_no_load_moves_is_no_relief_mode():
    still = grids([Cycle()])
    still[:, [row("PS1"), row("PS2"), row("PS3")]] = 150.0
    assert relief_share(rig(), still).tolist() == [0.0]


def test_a_gap_on_one_plateau_does_not_make_relief_mode():
    values = grids([Cycle()])
    values[:, row("PS1"), 22:28] = np.nan
    assert relief_share(rig(), values).tolist() == [0.0]


def test_the_network_sees_the_same_machine_in_other_units():
    sensors = tuple(
        s.model_copy(
            update={
                "unit": "Pa",
                "range": s.range.model_copy(update={"low": s.range.low * 1e5, "high": s.range.high * 1e5}),
                "normal": s.normal.model_copy(update={"low": s.normal.low * 1e5, "high": s.normal.high * 1e5}),
            }
        )
        if s.quantity == "pressure"
        else s
        for s in rig().sensors
    )
    pressures = [k for k, s in enumerate(rig().sensors) if s.quantity == "pressure"]
    machine, values = rig().model_copy(update={"sensors": sensors}), grids([Cycle()])
    other = values.copy()
    other[:, pressures] *= 1e5
    assert structure(machine).arrays["sensor_features"] == pytest.approx(
        structure().arrays["sensor_features"], rel=1e-6
    )
    one, two = encode(structure(), values, None, ()), encode(structure(machine), other, None, ())
    for name, value in one.items():
        assert value == pytest.approx(two[name], abs=2e-3), name
    assert one["readings"].shape[-1] > CYCLE_STEPS
