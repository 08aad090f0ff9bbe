"""Virtual sensors with their calibration: what they read, and with which scale it is judged."""

import numpy as np
import orjson
import pytest

from gnn_service.model.evidence import Calibration, VirtualSensors
from gnn_service.model.levels import LevelScale
from tests.support.duty_cycle import Cycle, grids, rig
from tests.support.tiny_model import CALIBRATIONS, healthy_baseline


def read(values, baseline=None, calibrations=None):
    sensors = VirtualSensors.of(rig(), CALIBRATIONS if calibrations is None else calibrations)
    return {e.binding.key: e for e in sensors.read(values, baseline)}


def test_each_level_of_charge_is_read_as_that_level():
    found = read(grids([Cycle(charge_bar=charge) for charge in (130.0, 115.0, 100.0, 90.0)]))
    evidence = found["accumulator.gas_charge"]
    assert evidence.log_levels.argmax(1).tolist() == [0, 1, 2, 3]
    assert evidence.severity == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=0.25)
    assert evidence.usable.all()


def test_without_calibration_no_level_is_read_and_nothing_is_usable():
    found = read(grids([Cycle()]), healthy_baseline(), {})
    assert set(found) == set(CALIBRATIONS)
    for evidence in found.values():
        assert evidence.log_levels is None
        assert not evidence.usable.any()
        assert evidence.severity.tolist() == [0.0]
    assert found["valve.switching_delay"].estimate.valid.all()
    assert not found["accumulator.gas_charge"].estimate.valid.any()


def test_an_own_baseline_moves_the_healthy_level_only():
    own = healthy_baseline(charge=122.0)
    value = grids([Cycle(charge_bar=122.0), Cycle(charge_bar=100.0)])
    plain, commissioned = (read(value, baseline)["accumulator.gas_charge"] for baseline in (None, own))
    assert np.exp(plain.log_levels[0]).argmax() == 1
    assert np.exp(commissioned.log_levels[0]).argmax() == 0
    assert np.exp(commissioned.log_levels[1]).argmax() == 2
    assert commissioned.estimate.value.tolist() == plain.estimate.value.tolist()


def test_the_reference_of_a_kind_is_no_commissioning():
    value = grids([Cycle(charge_bar=122.0)])
    plain, reference = (read(value, b) for b in (None, healthy_baseline("reference", 122.0)))
    for key, evidence in reference.items():
        assert np.array_equal(evidence.log_levels, plain[key].log_levels)
        assert evidence.estimate.valid.tolist() == plain[key].estimate.valid.tolist()


def test_an_unusable_estimate_is_marked():
    found = read(grids([Cycle(missing=("PS2",)), Cycle()]))
    assert found["valve.switching_delay"].usable.tolist() == [False, True]


def test_a_machine_without_the_calibrated_sensor_gets_no_estimate_from_another():
    fewer = rig().model_copy(update={"sensors": tuple(s for s in rig().sensors if s.id != "TS1")})
    found = {b.key for b in VirtualSensors.of(fewer, CALIBRATIONS).bindings}
    assert found == {"valve.switching_delay"}


def test_json_there_and_back_is_the_same_calibration():
    for calibration in (*CALIBRATIONS.values(), Calibration({})):
        again = Calibration.from_dict(orjson.loads(orjson.dumps(calibration.to_dict())))
        assert again == calibration
    drifting = LevelScale((0.0, 1.0), (130.0, 90.0), (2.0, 2.0), (120.0, 90.0), (310.0, 330.0))
    calibration = Calibration({"error_s": [0.01]}, drifting)
    assert Calibration.from_dict(orjson.loads(orjson.dumps(calibration.to_dict()))) == calibration


def test_windows_read_together_are_read_as_each_alone():
    values = grids([Cycle(charge_bar=c, delay_s=d) for c, d in ((130.0, 0.3), (95.0, 0.5), (105.0, 0.6))], noise=1.0)
    together = read(values, healthy_baseline())
    for k in range(3):
        for key, alone in read(values[k : k + 1], healthy_baseline()).items():
            assert alone.log_levels[0] == pytest.approx(together[key].log_levels[k])
            assert alone.severity[0] == pytest.approx(together[key].severity[k])
