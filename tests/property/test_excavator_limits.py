"""Whatever the site, the duty and the faults: an excavator's readings stay possible."""

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gnn_service.demo.machines.excavator.modes import MODES
from gnn_service.demo.machines.excavator.plant import Excavator
from gnn_service.demo.modes import degrade
from gnn_service.demo.parameters import alike, nominal
from gnn_service.demo.plant import Schedule, Setting
from gnn_service.demo.streams import Key
from gnn_service.domain.shipped import shipped_machine

SENSORS = shipped_machine("excavator").sensors
LOSSES = np.array([entry.kind == "loss" and entry.name != "return_line" for entry in Excavator.LEDGER])
SIZE = 32


@settings(max_examples=5, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.integers(0, 2**32 - 1))
def test_every_mix_of_faults_sites_and_states_gives_possible_readings(seed):
    random = np.random.default_rng(seed)
    site = {name: random.uniform(one.low, one.high, SIZE) for name, one in Excavator.SITE.items()}
    severity = {mode.id: random.uniform(0, 1, SIZE) * (random.random(SIZE) < 0.4) for mode in MODES}
    parameters = degrade(alike(nominal("excavator"), SIZE), MODES, severity)
    states = random.integers(0, len(Excavator.STATES), (SIZE, 3))
    schedule = Schedule(np.tile([0.0, 8.0, 15.0], (SIZE, 1)), states)
    plant = Excavator(Setting(tuple(Key(seed, index) for index in range(SIZE)), parameters, site, schedule))
    plant._oil.temperature[:] = random.uniform(263.0, 383.0, SIZE)
    plant._oil.tick(0.0)
    plant._turn_over()
    frames = plant.advance(220, ledger=True)
    assert frames.ledger is not None
    assert np.isfinite(frames.ledger).all()
    assert frames.ledger[:, LOSSES].min() > -1.0
    speed = [sensor.id for sensor in SENSORS].index("pump_main_1.engine_speed")
    turning = frames.values[:, speed] > 0.0
    for index, sensor in enumerate(SENSORS):
        values = frames.values[:, index]
        if sensor.quantity == "particle_code":
            assert np.isfinite(values[turning]).all(), sensor.id
        elif not sensor.id.endswith("drift_3min"):
            assert np.isfinite(values).all(), sensor.id
        assert not (values < sensor.range.low - 0.2).any(), sensor.id
        if not sensor.id.endswith("_case"):  # a dead pump drains more than its sensors can tell
            assert not (values > sensor.range.high + 0.2).any(), sensor.id
    reliefs = np.maximum(
        parameters["main_control_valve.main_relief"], parameters["main_control_valve.heavy_lift_relief"]
    )
    outlet = frames.values[:, [index for index, sensor in enumerate(SENSORS) if sensor.id.endswith("p_out")]]
    assert (outlet <= reliefs * 1e-5 * 1.07).all()
