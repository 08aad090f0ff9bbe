import shutil
import subprocess
import sys

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError, InvalidRecordingError
from gnn_service.domain.shipped import RIG, shipped_machine
from gnn_service.recordings.folder import read_recording, write_recording
from gnn_service.recordings.windows import cycle_windows
from gnn_service.training.importers.uci_hydraulic import block_names, import_uci_hydraulic, on_grid
from gnn_service.training.importers.uci_hydraulic_files import SENSORS

PUBLISHED_HZ = {sensor: 100 if sensor[:2] in ("PS", "EP") else 10 if sensor[:2] == "FS" else 1 for sensor in SENSORS}
PROFILE = np.array(
    [
        [100, 100, 0, 130, 0], [100, 100, 0, 130, 0], [100, 90, 0, 130, 1], [100, 90, 1, 130, 0],
        [20, 80, 2, 115, 0], [3, 73, 2, 90, 0], [3, 73, 2, 100, 1],
    ]
)  # fmt: skip


def at_rates(rates, seed=3):
    """Readings (C, samples) of each sensor, with a bias that names the sensor."""
    random = np.random.default_rng(seed)
    return {
        sensor: np.round(random.normal(10 * place, 1, (len(PROFILE), 60 * rate)), 3)
        for place, (sensor, rate) in enumerate(rates.items())
    }


def write_text(folder, readings, profile=PROFILE):
    """The folder as it is published: a row a cycle, values separated by tabs."""
    folder.mkdir(parents=True, exist_ok=True)
    for sensor, values in readings.items():
        np.savetxt(folder / f"{sensor}.txt", values, delimiter="\t", fmt="%.3f")
    np.savetxt(folder / "profile.txt", profile, delimiter="\t", fmt="%d")
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A small set in the published form, and its readings."""
    readings = at_rates(PUBLISHED_HZ)
    return write_text(tmp_path_factory.mktemp("published"), readings), readings


@pytest.fixture
def folder(published, tmp_path):
    """A copy of the published form to damage."""
    return shutil.copytree(published[0], tmp_path / "published")


def archive(path, **changes):
    """A small `cycles_1hz.npz` with two cycles left out."""
    kept = [0, 1, 2, 4, 6]
    readings = np.stack([values[kept] for values in at_rates(dict.fromkeys(SENSORS, 1)).values()], axis=1)
    arrays = {
        "readings": readings.astype(np.float32), "sensors": np.array(SENSORS), "labels": PROFILE[kept],
        "label_names": np.array(["cooler", "valve", "pump", "accumulator", "stable"]), "cycle": np.array(kept),
    }  # fmt: skip
    arrays |= changes
    np.savez(path, **{name: values for name, values in arrays.items() if values is not None})
    return path


def test_fast_sensors_become_means_of_each_second(published):
    source, readings = published
    table = import_uci_hydraulic(source).readings
    assert table.values.shape == (7 * 60, 17)
    assert table.values.dtype == np.float32
    for sensor, rate in PUBLISHED_HZ.items():
        expected = readings[sensor].reshape(7 * 60, rate).mean(axis=1)
        np.testing.assert_allclose(table.values[:, table.sensors.index(sensor)], expected, rtol=1e-6)


def test_slow_sensors_are_missing_between_their_samples(published):
    source, readings = published
    recording = import_uci_hydraulic(source, rate_hz=10)
    table = recording.readings
    assert table.values.shape == (7 * 600, 17)
    slow = table.values[:, table.sensors.index("TS1")].reshape(-1, 10)
    np.testing.assert_array_equal(slow[:, 0], readings["TS1"].reshape(-1).astype(np.float32))
    assert np.isnan(slow[:, 1:]).all()
    assert np.isfinite(table.values[:, table.sensors.index("FS1")]).all()
    rates = {sensor.id: sensor.rate_hz for sensor in recording.machine.sensors}
    assert (rates["PS1"], rates["FS1"], rates["TS1"]) == (10, 10, 1)
    assert np.diff(table.times).tolist() == [100_000] * (7 * 600 - 1)


def test_a_table_may_be_slower_than_every_sensor(published):
    source, readings = published
    table = import_uci_hydraulic(source, rate_hz=0.5).readings
    assert table.values.shape == (7 * 30, 17)
    expected = readings["TS1"].reshape(-1, 2).mean(axis=1)
    np.testing.assert_allclose(table.values[:, table.sensors.index("TS1")], expected, rtol=1e-6)


def test_files_reduced_before_give_the_same_table(published, tmp_path):
    source, readings = published
    reduced = {
        sensor: values.reshape(len(values), 60, -1).mean(axis=2) if sensor == "PS1" else values
        for sensor, values in readings.items()
    }
    again = import_uci_hydraulic(write_text(tmp_path / "reduced", reduced)).readings
    np.testing.assert_allclose(again.values, import_uci_hydraulic(source).readings.values, atol=1e-3)


def test_cycles_start_on_the_minute_and_carry_their_phase(published):
    recording = import_uci_hydraulic(published[0])
    windows = list(cycle_windows(recording))
    assert [window.cycle for window in windows] == list(range(7))
    assert [window.start - windows[0].start for window in windows] == [60.0 * k for k in range(7)]
    phase = recording.readings.phase[:60]
    assert {name: int(np.argmax(phase == name)) for name in ("start", "plateau_0", "valve_switch", "step_4")} == {
        "start": 0, "plateau_0": 2, "valve_switch": 9, "step_4": 49,
    }  # fmt: skip
    assert phase[[1, 8, 10]].tolist() == ["", "", ""]
    assert (recording.readings.phase.reshape(7, 60) == phase).all()


def test_truth_names_fault_severity_and_group_of_each_component(published):
    truth = import_uci_hydraulic(published[0]).truth
    assert truth.component.tolist() == ["cooler", "valve", "pump", "accumulator"] * 7
    severity = truth.severity.reshape(7, 4)
    np.testing.assert_allclose(
        severity,
        [
            [0, 0, 0, 0], [0, 0, 0, 0], [0, 1 / 3, 0, 0], [0, 1 / 3, 0.5, 0],
            [0.5, 2 / 3, 1, 1 / 3], [1, 1, 1, 1], [1, 1, 1, 2 / 3],
        ],
        atol=1e-6,
    )  # fmt: skip
    assert ((truth.fault == "") == (truth.severity == 0)).all()
    machine = shipped_machine(RIG)
    for component, fault in {(c, f) for c, f in zip(truth.component.tolist(), truth.fault.tolist(), strict=True) if f}:
        assert fault in {mode.id for mode in machine.modes_of(component)}
    assert truth.group[::4].tolist() == [f"block-000{first}" for first in (0, 0, 2, 3, 4, 5, 6)]
    assert truth.extra["cooler"][::4].tolist() == [100, 100, 100, 100, 20, 3, 3]
    assert truth.extra["accumulator"][::4].tolist() == [130, 130, 130, 130, 115, 90, 100]
    assert truth.extra["stable"][::4].tolist() == [True, True, False, True, True, True, False]
    assert truth.extra["cycle"][::4].tolist() == list(range(7))
    assert ((truth.end - truth.start) == 60_000_000).all()


def test_a_block_ends_where_a_label_changes_or_a_cycle_is_left_out():
    labels = np.array([[1, 1]] * 4 + [[1, 2]] * 2)
    assert block_names(np.array([3, 4, 7, 8, 9, 10]), labels).tolist() == [
        "block-0003", "block-0003", "block-0007", "block-0007", "block-0009", "block-0009",
    ]  # fmt: skip


def test_a_block_keeps_its_name_in_a_part_of_the_set():
    labels = np.array([[1]] * 3 + [[2]] * 3 + [[1]] * 3)
    whole = block_names(np.arange(9), labels)
    part = np.r_[0:3, 6:9]
    assert block_names(np.arange(9)[part], labels[part]).tolist() == whole[part].tolist()


def test_an_archive_gives_the_table_of_its_text_files(tmp_path):
    text = write_text(tmp_path / "text", at_rates(dict.fromkeys(SENSORS, 1)))
    whole = import_uci_hydraulic(text).readings
    part = import_uci_hydraulic(archive(tmp_path / "cycles_1hz.npz")).readings
    kept = np.isin(whole.cycle, [0, 1, 2, 4, 6])
    np.testing.assert_array_equal(part.values, whole.values[kept])
    np.testing.assert_array_equal(part.times, whole.times[kept])
    np.testing.assert_array_equal(part.cycle, whole.cycle[kept])


def test_the_folder_of_an_archive_and_the_archive_are_the_same_source(tmp_path):
    path = archive(tmp_path / "cycles_1hz.npz")
    one, other = import_uci_hydraulic(path), import_uci_hydraulic(tmp_path)
    np.testing.assert_array_equal(one.readings.values, other.readings.values)
    assert one.info == other.info
    assert one.info["cycles"] == 5
    assert one.info["licence"] == "CC-BY-4.0"


def test_sensors_are_found_by_name_not_by_place(tmp_path):
    archive(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as plain:
        readings = plain["readings"]
    turned = archive(tmp_path / "b.npz", readings=readings[:, ::-1], sensors=np.array(SENSORS[::-1]))
    one, other = import_uci_hydraulic(tmp_path / "a.npz"), import_uci_hydraulic(turned)
    np.testing.assert_array_equal(one.readings.values, other.readings.values)


def test_an_import_survives_writing_and_reading(published, tmp_path):
    recording = import_uci_hydraulic(published[0], rate_hz=10)
    write_recording(recording, tmp_path / "r")
    again = read_recording(tmp_path / "r")
    assert again.machine == recording.machine
    np.testing.assert_array_equal(again.readings.values, recording.readings.values)
    np.testing.assert_array_equal(again.truth.fault, recording.truth.fault)
    np.testing.assert_array_equal(again.truth.extra["stable"], recording.truth.extra["stable"])


def test_every_file_is_announced(published):
    seen = []
    import_uci_hydraulic(published[0], progress=lambda name, done, total: seen.append((name, done, total)))
    assert seen == [(f"{sensor}.txt", place, 17) for place, sensor in enumerate(SENSORS)]


def change_line(number, change):
    def damage(path):
        lines = path.read_text().splitlines()
        lines[number - 1] = change(lines[number - 1])
        path.write_text("\n".join(lines) + "\n")

    return damage


def cell(place, text):
    return lambda line: "\t".join([*line.split("\t")[: place - 1], text, *line.split("\t")[place:]])


BAD_TEXT = {
    "missing file": ("TS3.txt", lambda path: path.unlink(), "TS3.txt: this file is missing"),
    "empty file": ("TS1.txt", lambda path: path.write_text(""), "TS1.txt: this file is empty"),
    "a cycle short": ("TS1.txt", change_line(7, lambda _: ""), "TS1.txt: 6 cycles, but profile.txt has 7"),
    "cut in a row": ("FS1.txt", change_line(7, lambda line: line[:100]), "FS1.txt: line 7: "),
    "word in a row": ("PS1.txt", change_line(3, cell(5, "abc")), "PS1.txt: line 3, value 5: 'abc' is not a number"),
    "nan in a row": ("VS1.txt", change_line(2, cell(1, "nan")), "VS1.txt: cycle 2: a value is not finite"),
    "inf in a row": ("VS1.txt", change_line(4, cell(9, "-inf")), "VS1.txt: cycle 4: a value is not finite"),
    "odd rate": ("CE.txt", lambda path: np.savetxt(path, np.ones((7, 61))), "CE.txt: 61 samples a row"),
    "no text": ("CE.txt", lambda path: path.write_bytes(b"\xff\x00"), "CE.txt: cannot be read"),
    "profile short": ("profile.txt", change_line(2, lambda line: line[:-2]), "profile.txt: line 2: 4 values, not 5"),
    "profile narrow": ("profile.txt", lambda path: np.savetxt(path, PROFILE[:, :4]), "profile.txt: 4 columns"),
    "unknown level": ("profile.txt", change_line(5, cell(1, "50")), "profile.txt: cycle 5: cooler has no level 50"),
}


@pytest.mark.parametrize("case", BAD_TEXT)
def test_a_damaged_text_file_is_one_clear_line(folder, case):
    name, damage, words = BAD_TEXT[case]
    damage(folder / name)
    with pytest.raises(InvalidRecordingError) as refused:
        import_uci_hydraulic(folder)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


BAD_ARCHIVE = {
    "missing array": ({"labels": None}, "array 'labels' is missing"),
    "unknown sensor": ({"sensors": np.array([*SENSORS[:-1], "XX"])}, "sensor 'SE' is missing"),
    "doubled sensor": ({"sensors": np.array([*SENSORS[:-1], "PS1"])}, "sensor 'SE' is missing"),
    "short labels": ({"labels": PROFILE[:3]}, "do not fit together"),
    "gap": ({"readings": np.full((5, 17, 60), np.nan, dtype=np.float32)}, "cycle 1: a value is not finite"),
    "whole numbers": ({"readings": np.ones((5, 17, 60), dtype=np.int64)}, "do not fit together"),
    "cycles backwards": ({"cycle": np.array([0, 2, 1, 4, 6])}, "goes backwards"),
    "unknown label": ({"labels": PROFILE[:5] + 1}, "cooler has no level 101"),
    "no cycles": (
        {"readings": np.ones((0, 17, 60), np.float32), "labels": PROFILE[:0], "cycle": np.array([], dtype=int)},
        "do not fit together",
    ),
}


@pytest.mark.parametrize("case", BAD_ARCHIVE)
def test_a_wrong_archive_is_one_clear_line(tmp_path, case):
    changes, words = BAD_ARCHIVE[case]
    with pytest.raises(InvalidRecordingError, match=r"cycles_1hz\.npz: ") as refused:
        import_uci_hydraulic(archive(tmp_path / "cycles_1hz.npz", **changes))
    assert words in str(refused.value)


@pytest.mark.parametrize("size", [0, 10, 1000, -30])
def test_a_truncated_archive_is_one_clear_line(tmp_path, size):
    path = archive(tmp_path / "cycles_1hz.npz")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InvalidRecordingError, match="no whole NumPy archive"):
        import_uci_hydraulic(path)


def test_an_archive_with_pickled_objects_is_refused(tmp_path):
    path = archive(tmp_path / "cycles_1hz.npz", sensors=np.array(SENSORS, dtype=object))
    with pytest.raises(InvalidRecordingError, match="no whole NumPy archive"):
        import_uci_hydraulic(path)


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (0, "does not give whole samples"),
        (-1, "does not give whole samples"),
        (float("nan"), "does not give whole samples"),
        (0.33, "does not give whole samples"),
        (3, "3 Hz neither divides nor is a multiple of its 100 Hz"),
        (200, "at most 100 Hz"),
    ],
)
def test_a_rate_that_cannot_be_is_refused(published, rate, words):
    with pytest.raises(InvalidInputError, match=words):
        import_uci_hydraulic(published[0], rate_hz=rate)


def test_a_source_that_is_none_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="no such file or folder"):
        import_uci_hydraulic(tmp_path / "nowhere")
    with pytest.raises(InvalidInputError, match=r"neither cycles_1hz\.npz nor a folder"):
        import_uci_hydraulic(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InvalidInputError, match=r"neither cycles_1hz\.npz nor a folder"):
        import_uci_hydraulic(tmp_path / "notes.txt")


def test_on_grid_refuses_a_row_of_no_whole_seconds():
    with pytest.raises(InvalidRecordingError, match="90 samples a row"):
        on_grid("x", np.ones((1, 90)), 60)


@pytest.mark.requires("data")
def test_the_development_part_keeps_its_cycles_labels_and_blocks(uci_hydraulic):
    recording = import_uci_hydraulic(uci_hydraulic)
    with np.load(uci_hydraulic / "cycles_1hz.npz") as source:
        readings, labels = source["readings"], source["labels"]
    windows = np.stack([window.values for window in cycle_windows(recording)])
    np.testing.assert_array_equal(windows, readings)
    for place, component in enumerate(("cooler", "valve", "pump", "accumulator")):
        np.testing.assert_array_equal(recording.truth.extra[component][::4], labels[:, place])
    groups = recording.truth.group[::4]
    assert len(set(groups.tolist())) == 129
    for group in set(groups.tolist()):
        assert len(np.unique(labels[groups == group, :4], axis=0)) == 1
    ranges = {sensor.id: sensor.range for sensor in recording.machine.sensors}
    for place, sensor in enumerate(recording.readings.sensors):
        assert ranges[sensor].low <= recording.readings.values[:, place].min(), sensor
        assert recording.readings.values[:, place].max() <= ranges[sensor].high, sensor


def test_importing_needs_no_torch():
    code = "import sys; import gnn_service.training.importers.uci_hydraulic; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=50, check=False).returncode == 0
