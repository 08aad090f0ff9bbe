"""What commissioning learns, keeps and refuses."""

import numpy as np
import pytest
from pydantic import ValidationError

from gnn_service.core.errors import InvalidInputError
from gnn_service.model.baseline import LEAST_CYCLES, MAD_TO_SD, SCALE_FLOOR, Baseline, fit_baseline, robust_centre
from gnn_service.model.evidence import VirtualSensors
from gnn_service.model.grid import CYCLE_STEPS
from gnn_service.model.virtual.view import bind
from tests.support.duty_cycle import Cycle, grids, rig
from tests.support.tiny_model import CALIBRATIONS, healthy_baseline

SENSORS = VirtualSensors.of(rig(), CALIBRATIONS)


def fit(values, machine=None):
    return fit_baseline(machine or rig(), values, SENSORS.bindings, SENSORS.parameters)


def row(sensor):
    return rig().sensor_ids.index(sensor)


def test_json_there_and_back_is_the_same_baseline():
    baseline = fit(grids([Cycle(missing=("FS2",))] * 5, noise=1.0))
    assert Baseline.model_validate_json(baseline.model_dump_json()) == baseline


def test_the_centre_is_what_healthy_running_shows_at_each_step():
    centre, scale = fit(grids([Cycle()] * 5)).arrays(rig())
    assert centre.shape == (len(rig().sensors), CYCLE_STEPS)
    assert centre == pytest.approx(grids([Cycle()])[0], rel=1e-5)
    assert scale.shape == (len(rig().sensors),)


def test_the_scale_is_the_scatter_between_healthy_cycles():
    values = np.repeat(grids([Cycle()]), 400, axis=0)
    values[:, row("EPS1")] += np.random.default_rng(0).normal(0, 25.0, (400, CYCLE_STEPS)).astype(np.float32)
    _, scale = fit(values).arrays(rig())
    assert scale[row("EPS1")] == pytest.approx(25.0, rel=0.05)


def test_a_sensor_that_never_moves_keeps_a_scale_above_zero():
    _, scale = fit(grids([Cycle()] * 4)).arrays(rig())
    span = rig().sensors[row("PS5")].range
    assert scale[row("PS5")] == pytest.approx(SCALE_FLOOR * (span.high - span.low))
    assert (scale > 0).all()


def test_one_wild_cycle_does_not_move_the_baseline():
    calm = grids([Cycle()] * 9, noise=1.0)
    wild = np.concatenate([calm, grids([Cycle(charge_bar=70.0, delay_s=0.9, oil_c=80.0)])])
    one, other = fit(calm).arrays(rig()), fit(wild).arrays(rig())
    assert np.abs(one[0] - other[0]).max() < 10 * one[1].max()
    assert other[1] == pytest.approx(one[1], rel=0.6, abs=1e-3)


def test_a_missing_sensor_stays_missing():
    baseline = fit(grids([Cycle(missing=("FS1", "PS6"))] * 4))
    centre, scale = baseline.arrays(rig())
    assert np.isnan(centre[[row("FS1"), row("PS6")]]).all()
    assert np.isfinite(np.delete(centre, [row("FS1"), row("PS6")], axis=0)).all()
    assert set(baseline.centre["FS1"]) == {None}
    assert (scale > 0).all()


def test_a_sensor_lost_in_some_cycles_is_learned_from_the_others():
    values = grids([Cycle(), Cycle(missing=("PS3",)), Cycle(), Cycle()])
    centre, _ = fit(values).arrays(rig())
    assert centre[row("PS3")] == pytest.approx(values[0, row("PS3")], rel=1e-5)


def test_a_slow_sensor_scatters_as_much_as_its_own_readings_do():
    """Steps between its samples are missing; they must not count as steps without scatter."""
    values = np.repeat(grids([Cycle()]), 200, axis=0)
    noise = np.random.default_rng(0).normal(0, 25.0, (200, CYCLE_STEPS)).astype(np.float32)
    values[:, row("EPS1")] += noise
    values[:, row("EPS1"), np.arange(CYCLE_STEPS) % 10 != 0] = np.nan
    _, scale = robust_centre(rig(), values)
    assert scale[row("EPS1")] == pytest.approx(25.0, rel=0.15)


def test_small_units_lose_no_digits():
    values = grids([Cycle()] * 3)
    values[:, row("FS1")] *= 1e-3 / 60
    centre, _ = fit(values).arrays(rig())
    assert centre[row("FS1")] == pytest.approx(values[0, row("FS1")], rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("count", range(LEAST_CYCLES))
def test_too_few_windows_are_refused_with_their_number(count):
    with pytest.raises(InvalidInputError, match=f"{count} healthy windows are too few; commissioning needs 3"):
        fit(grids([Cycle()] * 5)[:count])


def test_virtual_sensors_learn_what_they_read_on_this_machine():
    found = fit(grids([Cycle(charge_bar=124.0, delay_s=0.33)] * 5)).virtual
    assert found["accumulator.gas_charge"]["centre"] == [pytest.approx(124.0, abs=1.0)]
    assert found["valve.switching_delay"]["centre"] == [pytest.approx(0.33, abs=1e-3)]
    assert found["pump.pump_leakage"]["flow"][1] > 0


def test_virtual_sensors_that_read_nothing_learn_nothing():
    found = fit(grids([Cycle(missing=("PS2", "TS1"))] * 4)).virtual
    assert found == {}


def test_a_baseline_of_another_machine_is_refused():
    other = rig().model_copy(update={"id": "another-rig"})
    with pytest.raises(
        InvalidInputError, match="of machine uci-hydraulic-rig, not of another-rig; commission"
    ) as refused:
        healthy_baseline().check(other)
    assert refused.value.where == "baseline"


def test_a_baseline_with_strange_sensors_is_refused_by_name():
    fewer = rig().model_copy(update={"sensors": rig().sensors[1:]})
    with pytest.raises(InvalidInputError, match="with sensors PS1, not of"):
        healthy_baseline().check(fewer)


def test_a_baseline_from_before_a_sensor_was_added_still_holds():
    older = healthy_baseline().model_copy(
        update={"centre": {k: v for k, v in healthy_baseline().centre.items() if k != "PS4"}}
    )
    older.check(rig())
    centre, scale = older.arrays(rig())
    assert np.isnan(centre[row("PS4")]).all()
    assert scale[row("PS4")] == 1.0


@pytest.mark.parametrize(
    "change",
    [
        {"centre": {"PS1": (1.0, 2.0)}, "scale": {"PS1": 1.0}},
        {"centre": {"PS1": (1.0,) * 60}, "scale": {"PS1": 0.0}},
        {"centre": {"PS1": (1.0,) * 60}, "scale": {}},
    ],
    ids=["short", "no scatter", "no scale"],
)
def test_a_baseline_that_is_incomplete_is_refused_with_the_sensor(change):
    baseline = Baseline(machine=rig().id, windows=5, **change)
    with pytest.raises(InvalidInputError, match="of PS1 needs 60 values and a positive scale; commission again"):
        baseline.check(rig())


@pytest.mark.parametrize(
    "change",
    [
        {"centre": {}},
        {"centre": {"PS1": (float("inf"),) * 60}},
        {"scale": {"PS1": float("nan")}},
        {"virtual": {"valve.switching_delay": {"centre": [float("nan")]}}},
        {"virtual": {"valve.switching_delay": {"centre": []}}},
        {"windows": 0},
        {"format": "gnn-service/baseline/9"},
        {"surprise": 1},
    ],
)
def test_a_document_that_is_no_baseline_is_refused(change):
    good = {"machine": "m", "windows": 3, "centre": {"PS1": (1.0,) * 60}, "scale": {"PS1": 1.0}}
    Baseline.model_validate(good)
    with pytest.raises(ValidationError):
        Baseline.model_validate({**good, **change})


@pytest.mark.parametrize("wrong", [{"centre": [1.0, 2.0]}, {"flow": [1.0]}, {"centre": [1.0], "more": [1.0]}])
def test_a_virtual_part_of_the_wrong_shape_is_refused_with_its_place(wrong):
    baseline = healthy_baseline().model_copy(update={"virtual": {"valve.switching_delay": wrong}})
    with pytest.raises(InvalidInputError, match="commission again") as refused:
        SENSORS.check(baseline)
    assert refused.value.where == "baseline.virtual.valve.switching_delay"


def test_what_commissioning_writes_passes_its_own_checks():
    healthy_baseline().check(rig())
    SENSORS.check(healthy_baseline())
    assert set(healthy_baseline().virtual) == {binding.key for binding in bind(rig())}


def test_the_scatter_is_in_standard_deviations():
    draws = np.random.default_rng(0).normal(size=100_000)
    assert MAD_TO_SD * np.median(np.abs(draws)) == pytest.approx(1.0, abs=0.02)


FLT_MAX = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("far", [9999.0, -9999.0, 1e20, FLT_MAX, -FLT_MAX])
def test_readings_far_outside_the_measuring_range_count_as_missing(far):
    values = grids([Cycle()] * 5, noise=1.0)
    spoilt = values.copy()
    spoilt[1, row("PS1")] = far
    spoilt[2, row("PS1"), 7] = far
    lacking = np.where(spoilt == np.float32(far), np.float32(np.nan), spoilt)
    assert fit(spoilt) == fit(lacking)
    assert fit(spoilt).centre["PS2"] == fit(values).centre["PS2"]


def test_a_reading_a_little_outside_the_measuring_range_is_one():
    values = grids([Cycle()] * 3)
    values[:, row("PS1")] = rig().sensors[row("PS1")].range.high * 1.2
    assert set(fit(values).centre["PS1"]) == {300.0}


@pytest.mark.parametrize("far", [9999.0, 1e20, FLT_MAX])
def test_a_sensor_that_has_no_possible_reading_is_refused_by_name(far):
    values = grids([Cycle()] * 5)
    values[:, row("PS1")] = far
    with pytest.raises(InvalidInputError, match="every reading of PS1 is far outside its measuring range") as refused:
        fit(values)
    assert refused.value.where == "PS1"


def test_readings_too_large_for_single_precision_are_refused_by_sensor():
    values = grids([Cycle()] * 4)
    values[::2, row("PS1")], values[1::2, row("PS1")] = FLT_MAX, -FLT_MAX
    with pytest.raises(InvalidInputError, match="too large to take their scatter") as refused:
        robust_centre(rig(), values)
    assert refused.value.where == "PS1"


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("scale", 1e-300, "1e-300 bar is no scatter of a sensor that measures 0 to 250"),
        ("scale", 1e-3, "is no scatter"),
        ("scale", 1e300, "is no scatter"),
        ("centre", (1e300,) * 60, "far outside the measuring range of PS1"),
        ("centre", (None,) * 59 + (-400.0,), "far outside the measuring range of PS1"),
    ],
)
def test_a_baseline_with_numbers_that_no_commissioning_gives_is_refused(part, value, said):
    good = healthy_baseline()
    forged = good.model_copy(update={part: {**getattr(good, part), "PS1": value}})
    with pytest.raises(InvalidInputError, match=said) as refused:
        forged.check(rig())
    assert refused.value.where == f"baseline.{part}.PS1"


def test_a_baseline_without_a_reading_is_refused():
    empty = healthy_baseline().model_copy(update={"centre": {"PS1": (None,) * 60}})
    with pytest.raises(InvalidInputError, match="holds no reading"):
        empty.check(rig())


@pytest.mark.parametrize("value", [1e300, -1e300, 1e7])
def test_a_virtual_part_beyond_what_machines_show_is_refused(value):
    forged = healthy_baseline().model_copy(update={"virtual": {"valve.switching_delay": {"centre": [value]}}})
    with pytest.raises(InvalidInputError, match="no machine shows") as refused:
        forged.check(rig())
    assert refused.value.where == "baseline.virtual.valve.switching_delay"
