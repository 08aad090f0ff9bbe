"""Lives and corpora: bytes that depend on the seed and the life alone, and folders that can be gone on with."""

import json
import resource
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo import corpus
from gnn_service.demo.corpus import CorpusPlan, write_corpus
from gnn_service.demo.life_kinds import LifeKind, kinds_of_life, life_kinds
from gnn_service.demo.life_windows import LapsePlan, simulate_lapse
from gnn_service.demo.streams import Key
from gnn_service.demo.systems import get_system
from gnn_service.recordings.extras import capture_names, read_extra
from gnn_service.recordings.folder import read_recording, read_recordings
from tests.support.tiny_plant import tiny_system

SYSTEM = tiny_system()
LAPSE = LapsePlan(windows=4, window_s=30.0, full_share=0.4)
PLAN = CorpusPlan(("tiny",), 4, 3, ("T2", "T3"), LAPSE)


@pytest.fixture(autouse=True)
def only_the_tiny_machine(monkeypatch):
    """A corpus finds its machines by name."""
    known = get_system
    monkeypatch.setattr(corpus, "get_system", lambda name: SYSTEM if name == "tiny" else known(name))


def contents(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def lapse(kind: LifeKind, numbers, plan: LapsePlan = LAPSE, seed: int = 3):
    keys = [Key(seed, number) for number in numbers]
    return list(simulate_lapse(SYSTEM, [kind] * len(keys), keys, plan, [f"tiny-{number}" for number in numbers]))


def test_a_life_is_the_same_whatever_lives_beside_it():
    together = lapse(LifeKind("T2"), (0, 1, 2))
    for number in (0, 2):
        ((name, alone, extras),) = lapse(LifeKind("T2"), (number,))
        same, recording, beside = together[number]
        assert name == same
        np.testing.assert_array_equal(alone.readings.values, recording.readings.values)
        np.testing.assert_array_equal(alone.truth.severity, recording.truth.severity)
        assert alone.info == recording.info
        for column, values in extras.cycles.items():
            np.testing.assert_array_equal(values, beside.cycles[column])


def test_a_life_to_failure_gets_worse_from_window_to_window_and_has_less_and_less_left():
    ((_, recording, extras),) = lapse(LifeKind("T2"), (1,), replace(LAPSE, windows=12))
    truth = recording.truth
    rows = truth.fault == "filter_clogging"
    assert rows.sum() > 5
    assert (np.diff(truth.severity[rows]) > 0).all()
    left = truth.extra["rul_h"][rows]
    known = np.isfinite(left)
    assert known[truth.severity[rows] >= 0.15].all()
    assert (np.diff(left[known]) < 0).all()
    np.testing.assert_allclose(np.diff(left[known]), -np.diff(truth.extra["hour"][rows][known]), atol=5.0)
    assert set(extras.events["kind"]) >= {"onset"}
    assert (np.diff(recording.readings.times) > 0).all()
    assert len(recording.readings.times) == 12 * 30


def test_a_healthy_life_has_no_fault_and_one_kind_of_life_a_failing_sensor():
    ((_, healthy, _),) = lapse(LifeKind(None), (0,))
    assert set(healthy.truth.fault.tolist()) == {""}
    assert set(healthy.truth.extra["sensor_faults"].tolist()) == {""}
    ((_, sensor, extras),) = lapse(LifeKind(None, sensor_fails=True), (0,))
    faults = sensor.truth.extra["sensor_faults"].reshape(LAPSE.windows, -1)[:, 0].tolist()
    assert faults[0] == ""
    assert faults[-1].partition(":")[2] in SYSTEM.machine.sensor_ids
    assert extras.events["kind"].tolist() == ["sensor_fault"]


def test_lives_take_every_failure_mode_in_turn_and_healthy_ones_between():
    kinds = kinds_of_life(SYSTEM)
    assert [kind.mode for kind in kinds] == ["T1", "T2", "T3", "T4", "T5", None, None]
    assert [kind.sensor_fails for kind in kinds].count(True) == 1


def test_the_first_windows_of_cycles_and_captures_fit_the_readings(tmp_path):
    write_corpus(PLAN, tmp_path / "c")
    for life in ("tiny-0000", "tiny-0001", "tiny-0002", "tiny-0003"):
        recording = read_recording(tmp_path / "c" / life)
        assert recording.machine.id == life
        assert set(recording.truth.group) == {life}
        cycles = read_extra(tmp_path / "c" / life, "cycles")
        assert set(cycles["cycle"]) >= set(recording.readings.cycle)
        assert (np.diff(cycles["start"].astype(np.int64)) > 0).all()
        named = [f"window_{n:02d}" for n, w in enumerate(recording.info["simulation"]["windows"]) if w["full_rate"]]
        assert capture_names(tmp_path / "c" / life) == tuple(named)


def test_what_was_interrupted_is_gone_on_with_and_comes_out_the_same(tmp_path):
    whole = write_corpus(PLAN, tmp_path / "whole")
    write_corpus(PLAN, tmp_path / "part")
    shutil.rmtree(tmp_path / "part" / "tiny-0002")
    (tmp_path / "part" / ".tiny-0002.x.partial").mkdir()
    said = []
    again = write_corpus(PLAN, tmp_path / "part", resume=True, say=lambda done, total: said.append((done, total)))
    assert (whole.new, again.new, again.lives) == (4, 1, 4)
    assert said == [(3, 4), (4, 4)]
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")
    assert json.loads((tmp_path / "part" / "corpus.json").read_text())["complete"] is True


@pytest.mark.timeout(120)
def test_the_bytes_are_the_same_with_one_process_and_with_two(tmp_path):
    shares = {"failure": 0.5, "fleet": 0.5}
    plan = CorpusPlan(("cnc",), 2, 2, ("C1", "C2"), LapsePlan(windows=1, window_s=5.0), shares=shares)
    assert len(set(life_kinds(get_system("cnc"), range(2), seed=2, shares=shares, faults=("C1", "C2")))) == 2
    for workers in (1, 2):
        write_corpus(plan, tmp_path / str(workers), workers=workers)
    one, two = contents(tmp_path / "1"), contents(tmp_path / "2")
    assert one == two
    assert len([name for name in one if name.endswith("machine.json")]) == 2


def test_a_disk_that_fills_up_leaves_whole_lives_alone(tmp_path):
    plan = replace(PLAN, lapse=replace(LAPSE, windows=8, full_share=1.0))
    write_corpus(plan, tmp_path / "whole")
    sizes = sorted(path.stat().st_size for path in (tmp_path / "whole").rglob("*.parquet"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (sizes[-1] - 1, hard))
    try:
        with pytest.raises(InvalidInputError, match="cannot be written: File too large; nothing of it was kept"):
            write_corpus(plan, tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in (tmp_path / "full").iterdir() if path.name.startswith(".")]
    for life in (path for path in (tmp_path / "full").iterdir() if path.is_dir()):
        assert contents(life) == contents(tmp_path / "whole" / life.name)
    assert json.loads((tmp_path / "full" / "corpus.json").read_text())["complete"] is False
    write_corpus(plan, tmp_path / "full", resume=True)
    assert contents(tmp_path / "full") == contents(tmp_path / "whole")


KILLED = """
import os, sys
from pathlib import Path
import gnn_service.demo.corpus as corpus
import gnn_service.recordings.folder as folder
from tests.unit.demo.test_corpus import PLAN, SYSTEM
corpus.get_system = lambda name: SYSTEM
written, known = [], folder._json

def killed_in_the_second_life(value):
    written.append(value)
    if len(written) == 3:
        os._exit(9)
    return known(value)

folder._json = killed_in_the_second_life
corpus.write_corpus(PLAN, Path(sys.argv[1]))
"""


def test_a_corpus_that_was_killed_half_way_can_be_gone_on_with(tmp_path, root):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "killed")], cwd=root, timeout=50)
    assert done.returncode == 9
    names = sorted(path.name for path in (tmp_path / "killed").iterdir())
    assert [name for name in names if not name.startswith(".")] == ["corpus.json", "tiny-0000"]
    assert len(names) == 3
    assert len(read_recordings([tmp_path / "killed"])) == 1
    write_corpus(PLAN, tmp_path / "killed", resume=True)
    write_corpus(PLAN, tmp_path / "whole")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_another_plan_is_not_mixed_into_a_corpus(tmp_path):
    small = replace(PLAN, lives=1)
    write_corpus(small, tmp_path / "c")
    with pytest.raises(InvalidInputError, match="there is a corpus already; say --resume"):
        write_corpus(small, tmp_path / "c")
    with pytest.raises(InvalidInputError, match=r"begun with another seed \(3, not 4\)"):
        write_corpus(replace(small, seed=4), tmp_path / "c", resume=True)
    before = (tmp_path / "c" / "tiny-0000" / "readings.parquet").read_bytes()
    write_corpus(replace(small, seed=4), tmp_path / "c", overwrite=True)
    assert (tmp_path / "c" / "tiny-0000" / "readings.parquet").read_bytes() != before


def test_a_corpus_that_is_half_replaced_says_so_and_is_not_gone_on_with(tmp_path, monkeypatch):
    small = replace(PLAN, lives=2)
    write_corpus(small, tmp_path / "c")

    def killed(folder):
        shutil.rmtree(folder / "tiny-0000")
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus, "_remove_lives", killed)
    with pytest.raises(KeyboardInterrupt):
        write_corpus(replace(small, seed=4), tmp_path / "c", overwrite=True)
    monkeypatch.undo()
    monkeypatch.setattr(corpus, "get_system", lambda name: SYSTEM)
    assert json.loads((tmp_path / "c" / "corpus.json").read_text())["complete"] is False
    for seed in (3, 4):
        with pytest.raises(InvalidInputError, match="begun with another plan"):
            write_corpus(replace(small, seed=seed), tmp_path / "c", resume=True)
    write_corpus(replace(small, seed=4), tmp_path / "c", overwrite=True)
    write_corpus(replace(small, seed=4), tmp_path / "whole")
    assert contents(tmp_path / "c") == contents(tmp_path / "whole")


def test_a_corpus_of_all_kinds_of_lives_states_their_shares_and_comes_out_the_same_in_any_batch(tmp_path):
    plan = replace(PLAN, faults=(), lives=8, shares={"failure": 0.4, "fleet": 0.3, "cascade": 0.3})
    write_corpus(plan, tmp_path / "whole")
    assert json.loads((tmp_path / "whole" / "corpus.json").read_text())["plan"]["shares"] == plan.shares
    write_corpus(plan, tmp_path / "part")
    for number in (1, 4, 5):
        shutil.rmtree(tmp_path / "part" / f"tiny-{number:04d}")
    write_corpus(plan, tmp_path / "part", resume=True)
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")
    told = {read_recording(life).info["simulation"]["life"] for life in (tmp_path / "whole").glob("tiny-*")}
    assert {"several faults, inspections and repairs", "T1 lets T2 begin"} <= told


def test_kinds_of_lives_that_there_are_not_leave_no_folder(tmp_path):
    with pytest.raises(InvalidInputError, match="T2 let nothing else begin in tiny"):
        write_corpus(replace(PLAN, faults=("T2",), shares={"cascade": 1.0}), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    for how in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(InvalidInputError, match="holds something else than a corpus"):
            write_corpus(PLAN, tmp_path, **how)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("wrong", [{"lives": 0}, {"lapse": LapsePlan(windows=0)}, {"lapse": LapsePlan(window_s=-1)}])
def test_what_is_no_corpus_is_refused(wrong):
    with pytest.raises(InvalidInputError):
        replace(PLAN, **wrong)
