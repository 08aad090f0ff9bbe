"""Whatever is asked of the simulated robot, what it shows stays possible."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_service.demo.machines.robot import MODES, PLANT
from gnn_service.demo.plant import Schedule
from gnn_service.domain.shipped import shipped_machine
from tests.support.robots import ENTRIES, INDEX, robots, seen

SENSORS = shipped_machine("robot").sensors
RESULTS = {"brake_hold", "backlash", "i_friction", "f_resonance", "repeat_error", "p_decay", "t_close", "t_open"}
severities = st.dictionaries(st.sampled_from([mode.id for mode in MODES]), st.floats(0, 1), max_size=10)


@settings(max_examples=25, deadline=None)
@given(
    severity=severities,
    states=st.lists(st.integers(0, len(PLANT.STATES) - 1), min_size=1, max_size=4),
    ambient_k=st.floats(273.15, 318.15),
    override=st.floats(0.3, 1.0),
    heavy_share=st.floats(0.0, 1.0),
    steps=st.lists(st.integers(1, 150), min_size=1, max_size=4),
)
def test_no_fault_no_site_and_no_schedule_makes_the_robot_impossible(
    severity, states, ambient_k, override, heavy_share, steps
):
    schedule = Schedule(9.0 * np.arange(len(states), dtype=float)[None], np.array([states]))
    plant = robots(
        1, severity=severity, schedule=schedule, ambient_k=ambient_k, override=override, heavy_share=heavy_share
    )
    for count in steps:
        frames = plant.advance(count, ledger=True)
        for sensor in SENSORS:
            values = frames.values[:, INDEX[sensor.id], 0]
            known = values[np.isfinite(values)]
            assert len(known) == count or sensor.id.partition(".")[2] in RESULTS
            assert ((known >= sensor.range.low - 1e-3) & (known <= sensor.range.high + 1e-3)).all(), sensor.id
        assert (frames.ledger[:, ENTRIES["loss"]] >= 0).all()
        assert seen(frames, "drive_cabinet.u_dc").max() < 751
        assert seen(frames, "pneumatic_supply.p").min() >= 0
