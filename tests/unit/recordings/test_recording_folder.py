import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gnn_service.core.errors import InvalidInputError, InvalidMachineError, InvalidRecordingError
from gnn_service.domain.check import parse_machine
from gnn_service.domain.recording import Readings, Recording, Truth
from gnn_service.recordings.folder import read_recording, read_recordings, write_recording

START = 1_700_000_000_000_000


@pytest.fixture
def recording():
    """Two components, three sensors, six rows with gaps, and truth with columns of its own."""
    machine = parse_machine(
        {
            "id": "unit-1",
            "components": [{"id": "pump", "type": "pump"}, {"id": "tank", "type": "reservoir"}],
            "connections": [{"source": "tank", "target": "pump", "type": "hyd_suction"}],
            "sensors": [
                {
                    "id": name,
                    "component": "pump",
                    "quantity": "pressure",
                    "unit": "bar",
                    "range": {"low": 0, "high": 400},
                }
                for name in ("P1", "P2", "P3")
            ],
            "failure_modes": [{"id": "leak", "component": "pump", "mode": "internal_leakage"}],
        }
    )
    times = START + np.arange(6, dtype=np.int64) * 500_000
    values = np.array([[1.5, np.nan, 3.25]] * 6, dtype=np.float32) + np.arange(6, dtype=np.float32)[:, None]
    readings = Readings(
        times, ("P1", "P2", "P3"), values,
        phase=np.array(["a", "a", "", "b", "b", "b"]), cycle=np.array([1, 1, 1, 2, 2, 2]),
    )  # fmt: skip
    truth = Truth(
        start=times[[0, 3]], end=times[[3, 5]], component=np.array(["pump", "pump"]), fault=np.array(["", "leak"]),
        severity=np.array([0, 0.5], dtype=np.float32), group=np.array(["g1", "g2"]),
        extra={
            "grade": np.array([0, 2]), "stable": np.array([True, False]), "rul_h": np.array([np.nan, 12.5]),
            "note": np.array(["", "worn"]), "seen": np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[us]"),
        },
    )  # fmt: skip
    return Recording(machine, readings, truth, {"source": "test", "seed": 1})


def assert_same(one, other):
    assert one.machine == other.machine
    assert one.info == other.info
    for part in ("readings", "truth"):
        left, right = getattr(one, part), getattr(other, part)
        for name in type(left).__slots__:
            if name == "extra":
                assert left.extra.keys() == right.extra.keys()
                for key in left.extra:
                    np.testing.assert_array_equal(left.extra[key], right.extra[key], key)
                    assert left.extra[key].dtype.kind == right.extra[key].dtype.kind
            elif name == "sensors" or getattr(left, name) is None:
                assert getattr(left, name) == getattr(right, name)
            else:
                np.testing.assert_array_equal(getattr(left, name), getattr(right, name), name)


def as_csv(folder, stem):
    """Replace a Parquet table by the CSV file of the same columns."""
    table = pq.read_table(folder / f"{stem}.parquet")
    (folder / f"{stem}.parquet").unlink()
    lines = [",".join(table.column_names)]
    for row in table.to_pylist():
        cells = [value.isoformat() if hasattr(value, "isoformat") else value for value in row.values()]
        lines.append(",".join("" if cell is None else str(cell) for cell in cells))
    (folder / f"{stem}.csv").write_text("\n".join(lines) + "\n")


def test_what_is_written_is_read_again(recording, tmp_path):
    write_recording(recording, tmp_path / "r")
    assert_same(read_recording(tmp_path / "r"), recording)


def test_csv_holds_the_same_as_parquet(recording, tmp_path):
    write_recording(recording, tmp_path / "r")
    as_csv(tmp_path / "r", "readings")
    as_csv(tmp_path / "r", "truth")
    assert_same(read_recording(tmp_path / "r"), recording)


def test_the_same_recording_gives_the_same_bytes(recording, tmp_path):
    for name in ("one", "two"):
        write_recording(recording, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["machine.json", "readings.parquet", "recording.json", "truth.parquet"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_the_files_have_the_types_of_the_contract(recording, tmp_path):
    write_recording(recording, tmp_path / "r")
    schema = pq.read_schema(tmp_path / "r" / "readings.parquet")
    assert schema.names == ["ts", "phase", "cycle", "P1", "P2", "P3"]
    assert schema.field("ts").type == pa.timestamp("us", tz="UTC")
    assert schema.field("P1").type == pa.float32()
    table = pq.read_table(tmp_path / "r" / "readings.parquet")
    assert table.column("P2").null_count == 6
    assert not np.isnan(table.column("P1").to_numpy()).any()


def test_truth_and_provenance_may_be_absent(recording, tmp_path):
    write_recording(replace(recording, truth=None), tmp_path / "r")
    (tmp_path / "r" / "recording.json").unlink()
    again = read_recording(tmp_path / "r")
    assert again.truth is None
    assert again.info == {}


def test_a_sensor_without_a_column_is_left_out(recording, tmp_path):
    readings = replace(recording.readings, sensors=("P3", "P1"), values=recording.readings.values[:, [2, 0]])
    write_recording(replace(recording, readings=readings), tmp_path / "r")
    again = read_recording(tmp_path / "r").readings
    assert again.sensors == ("P1", "P3")
    np.testing.assert_array_equal(again.values, recording.readings.values[:, [0, 2]])


def test_an_occupied_folder_is_left_alone_unless_told(recording, tmp_path):
    target = tmp_path / "r"
    target.mkdir()
    (target / "precious.txt").write_text("mine")
    with pytest.raises(InvalidInputError, match="not empty"):
        write_recording(recording, target)
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
    assert (target / "precious.txt").read_text() == "mine"
    write_recording(recording, target, overwrite=True)
    assert read_recording(target).info == recording.info
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_a_write_that_fails_leaves_nothing(recording, tmp_path):
    broken = replace(recording, info={"not": object()})
    with pytest.raises(TypeError):
        write_recording(broken, tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_keeps_what_was_there(recording, tmp_path):
    write_recording(recording, tmp_path / "r")
    with pytest.raises(TypeError):
        write_recording(replace(recording, info={"not": object()}), tmp_path / "r", overwrite=True)
    assert_same(read_recording(tmp_path / "r"), recording)
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_a_folder_of_recordings_is_read_by_name(recording, tmp_path):
    for name in ("b", "a"):
        write_recording(replace(recording, info={"name": name}), tmp_path / "set" / name)
    (tmp_path / "set" / "notes.txt").write_text("no recording")
    read = read_recordings([tmp_path / "set", tmp_path / "set" / "b"])
    assert [one.info["name"] for one in read] == ["a", "b", "b"]


def test_folders_without_a_recording_are_named(tmp_path):
    with pytest.raises(InvalidRecordingError, match=r"no machine\.json"):
        read_recordings([tmp_path])
    with pytest.raises(InvalidRecordingError, match="no such folder"):
        read_recordings([tmp_path / "nowhere"])
    with pytest.raises(InvalidRecordingError, match="no recording was named"):
        read_recordings([])


def damage_truncate(folder):
    path = folder / "readings.parquet"
    path.write_bytes(path.read_bytes()[:-40])


def damage_middle(folder):
    path = folder / "readings.parquet"
    data = bytearray(path.read_bytes())
    data[4:200] = bytes(196)
    path.write_bytes(bytes(data))


def damage_table(change, stem="readings"):
    def damage(folder):
        path = folder / f"{stem}.parquet"
        pq.write_table(change(pq.read_table(path)), path)

    return damage


def with_column(name, values):
    return lambda table: table.set_column(table.column_names.index(name), name, [values])


def csv_line(number, old, new):
    """Replace text in one line (1 is the header) of the readings as CSV."""

    def damage(folder):
        as_csv(folder, "readings")
        path = folder / "readings.csv"
        lines = path.read_text().splitlines()
        assert old in lines[number - 1], lines[number - 1]
        lines[number - 1] = lines[number - 1].replace(old, new, 1)
        path.write_text("\n".join(lines) + "\n")

    return damage


def machine_change(path, value):
    def damage(folder):
        document = json.loads((folder / "machine.json").read_text())
        inside = document
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = value
        (folder / "machine.json").write_text(json.dumps(document))

    return damage


BAD = {
    "no readings": (lambda f: (f / "readings.parquet").unlink(), "readings.parquet (or readings.csv) is missing"),
    "no machine": (lambda f: (f / "machine.json").unlink(), "machine.json is missing"),
    "two readings": (lambda f: (f / "readings.csv").write_text("ts\n"), "both readings.parquet and readings.csv"),
    "empty parquet": (lambda f: (f / "readings.parquet").write_bytes(b""), "readings.parquet: this file is empty"),
    "truncated parquet": (damage_truncate, "readings.parquet: this is no whole Parquet file"),
    "damaged parquet": (damage_middle, "readings.parquet: this is no whole Parquet file"),
    "no rows": (damage_table(lambda t: t.slice(0, 0)), "readings.parquet: this table has no rows"),
    "unknown sensor": (
        damage_table(lambda t: t.rename_columns(["ts", "phase", "cycle", "P1", "P2", "PX"])),
        "column 'PX' is no sensor of machine unit-1; it has: P1, P2, P3",
    ),
    "no sensor at all": (damage_table(lambda t: t.select(["ts", "phase"])), "no column is a sensor"),
    "no time": (damage_table(lambda t: t.drop_columns(["ts"])), "column 'ts' is missing"),
    "time as number": (
        damage_table(with_column("ts", pa.array(range(6)))),
        "column ts: must be a timestamp, not int64",
    ),
    "time missing": (
        damage_table(with_column("ts", pa.array([0, 1, None, 3, 4, 5], pa.timestamp("us", tz="UTC")))),
        "row 3, column ts: must not be missing",
    ),
    "time backwards": (
        damage_table(with_column("ts", pa.array([0, 1, 3, 2, 4, 5], pa.timestamp("us", tz="UTC")))),
        "row 4, column ts: time goes backwards",
    ),
    "time twice": (
        damage_table(with_column("ts", pa.array([0, 1, 2, 2, 4, 5], pa.timestamp("us", tz="UTC")))),
        "row 4, column ts: the same time",
    ),
    "text column": (damage_table(with_column("P1", pa.array(["1"] * 6))), "column P1: must hold numbers, not string"),
    "infinite": (
        damage_table(with_column("P1", pa.array([1, 2, 3, 4, float("inf"), 6]))),
        "row 5, column P1: inf is not finite",
    ),
    "too large": (
        damage_table(with_column("P1", pa.array([1, 2, 3, 4, -1e39, 6]))),
        "row 5, column P1: -1e+39 is not finite",
    ),
    "cycle of fractions": (
        damage_table(with_column("cycle", pa.array([1.0] * 6))),
        "column cycle: must hold whole numbers, not double",
    ),
    "csv text in numbers": (csv_line(4, "3.5", "3,5 "), "Expected 6 columns, got 7"),
    "csv word in numbers": (csv_line(4, "3.5", "abc"), "line 4, column P1: 'abc' is not a number"),
    "csv infinite": (csv_line(5, "4.5", "-inf"), "line 5, column P1: -inf is not finite"),
    "csv bad time": (csv_line(3, "2023-", "20x3-"), "line 3, column ts: '20x3-"),
    "csv truncated": (
        lambda f: (as_csv(f, "readings"), (f / "readings.csv").write_text((f / "readings.csv").read_text()[:-20])),
        "readings.csv: this is no whole CSV file",
    ),
    "csv empty": (lambda f: ((f / "readings.parquet").unlink(), (f / "readings.csv").touch()), "this file is empty"),
    "csv header only": (
        lambda f: ((f / "readings.parquet").unlink(), (f / "readings.csv").write_text("ts,P1\n")),
        "has no rows",
    ),
    "csv doubled column": (csv_line(1, "P2", "P1"), "column 'P1' stands there twice"),
    "csv binary": (
        lambda f: ((f / "readings.parquet").unlink(), (f / "readings.csv").write_bytes(b"\xff\xfe\x00a")),
        "no whole CSV",
    ),
    "machine no json": (lambda f: (f / "machine.json").write_text("{"), "machine.json: this is no JSON"),
    "machine empty": (lambda f: (f / "machine.json").write_text(""), "machine.json: this file is empty"),
    "unit mismatch": (
        machine_change(["sensors", 0, "unit"], "Cel"),
        "machine.json: sensors[0].unit: sensor P1: 'Cel' is no unit of pressure; use one such as 'bar'",
    ),
    "machine too deep": (
        lambda f: (f / "machine.json").write_text("[" * 100_000),
        "machine.json: this is nested too deeply for a description",
    ),
    "provenance too deep": (
        lambda f: (f / "recording.json").write_text('{"a":' * 100_000),
        "recording.json: this is nested too deeply",
    ),
    "provenance no json": (lambda f: (f / "recording.json").write_text("["), "recording.json: this is no JSON"),
    "provenance no object": (lambda f: (f / "recording.json").write_text("[]"), "must hold one JSON object"),
    "truth of a stranger": (
        damage_table(with_column("component", pa.array(["pump", "gone"])), "truth"),
        "truth.parquet: row 2, column component: 'gone' is no component",
    ),
    "unknown fault": (
        damage_table(with_column("fault", pa.array(["rust", "leak"])), "truth"),
        "row 1, column fault: 'rust' is no failure mode",
    ),
    "severity above 1": (
        damage_table(with_column("severity", pa.array([0.0, 1.5])), "truth"),
        "row 2, column severity: 1.5 must be within 0..1",
    ),
    "severity missing": (
        damage_table(with_column("severity", pa.array([None, 0.5])), "truth"),
        "row 1, column severity: None must be within",
    ),
    "group missing": (damage_table(with_column("group", pa.array([None, "g"])), "truth"), "row 1, column group"),
    "truth backwards": (
        damage_table(lambda t: with_column("end", t.column("start").combine_chunks())(t), "truth"),
        "must be after start",
    ),
    "truth without group": (damage_table(lambda t: t.drop_columns(["group"]), "truth"), "column 'group' is missing"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(recording, tmp_path, case):
    damage, words = BAD[case]
    write_recording(recording, tmp_path / "r")
    damage(tmp_path / "r")
    with pytest.raises((InvalidRecordingError, InvalidMachineError)) as refused:
        read_recording(tmp_path / "r")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("missing", ["", "NaN", "nan", "null", "NA"])
def test_missing_in_csv_is_a_gap(recording, tmp_path, missing):
    write_recording(recording, tmp_path / "r")
    csv_line(4, "3.5", missing)(tmp_path / "r")
    again = read_recording(tmp_path / "r").readings.values
    assert np.isnan(again[2, 0])
    assert np.isfinite(np.delete(again[:, 0], 2)).all()


@pytest.mark.parametrize(
    ("written", "unit"),
    [("2024-01-01T00:00:0{}Z", "s"), ("2024-01-01 01:00:0{}+01:00", "s"), ("2024-01-01T00:00:0{}", "s")],
)
def test_csv_times_are_utc_unless_they_say_otherwise(recording, tmp_path, written, unit):
    write_recording(replace(recording, truth=None), tmp_path / "r")
    (tmp_path / "r" / "readings.parquet").unlink()
    lines = "\n".join(f"{written.format(second)},{second}" for second in range(3))
    (tmp_path / "r" / "readings.csv").write_text(f"ts,P1\n{lines}\n")
    times = read_recording(tmp_path / "r").readings.times
    assert times.tolist() == [np.datetime64(f"2024-01-01T00:00:0{s}", "us").astype(int) for s in range(3)]


def test_parquet_of_other_writers_is_understood(recording, tmp_path):
    write_recording(replace(recording, truth=None), tmp_path / "r")
    table = pa.table(
        {
            "ts": pa.array([0, 1_000_000_000], pa.timestamp("ns")),
            "P1": pa.array([1, None], pa.int32()),
            "P2": pa.array([1.0, 2.0], pa.float64()),
            "P3": pa.nulls(2),
            "phase": pa.array(["a", None]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "r" / "readings.parquet")
    readings = read_recording(tmp_path / "r").readings
    assert readings.times.tolist() == [0, 1_000_000]
    np.testing.assert_array_equal(readings.values, np.array([[1, 1, np.nan], [np.nan, 2, np.nan]], np.float32))
    assert readings.phase.tolist() == ["a", ""]
