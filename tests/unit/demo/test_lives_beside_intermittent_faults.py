"""Intermittent faults cut time into slots for every machine of their batch; no byte of the others may show it."""

import pytest

from gnn_service.demo.life_kinds import LifeKind
from gnn_service.demo.life_windows import LapsePlan, simulate_lapse
from gnn_service.demo.streams import Key
from gnn_service.demo.systems import get_system, list_systems
from gnn_service.recordings.folder import write_recording

pytestmark = pytest.mark.timeout(240)  # some 20 s of work of each machine take their time where others work as well
LAPSE = LapsePlan(windows=2, window_s=47.0, full_share=0.6)
SEED = 7


def files_of(system, kinds: dict[int, LifeKind], folder) -> dict[int, dict[str, bytes]]:
    """Every file, byte for byte, of lives that are simulated side by side, by their number."""
    keys = [Key(SEED, number) for number in kinds]
    lives = simulate_lapse(system, list(kinds.values()), keys, LAPSE, [f"life-{number}" for number in kinds])
    found = {}
    for number, (name, recording, extras) in zip(kinds, lives, strict=True):
        write_recording(recording, folder / name, extras=extras)
        paths = sorted(path for path in (folder / name).rglob("*") if path.is_file())
        found[number] = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    return found


@pytest.mark.parametrize("name", list_systems())
def test_no_file_of_a_life_tells_that_its_neighbours_have_faults_that_come_and_go(name, tmp_path):
    system = get_system(name)
    steady = next(mode.id for mode in system.modes if mode.life.progression != "intermittent")
    fitful = [mode.id for mode in system.modes if mode.life.progression == "intermittent"]
    ours = {0: LifeKind(steady), 1: LifeKind(None, sensor_fails=True)}
    beside = {number: LifeKind(mode) for number, mode in enumerate(fitful or [system.modes[-1].id], 2)}
    together = files_of(system, ours | beside, tmp_path / "together")
    for number, kind in ours.items():
        alone = files_of(system, {number: kind}, tmp_path / f"alone-{number}")[number]
        assert alone.keys() >= {f"life-{number}/{part}.parquet" for part in ("readings", "cycles", "truth")}
        assert alone == together[number]
