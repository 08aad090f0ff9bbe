import json

import numpy as np
import pytest

from gnn_service.cli.main import main
from gnn_service.recordings.folder import read_recording
from gnn_service.training.importers.uci_hydraulic_files import SENSORS


@pytest.fixture
def source(tmp_path):
    """Three cycles of one block in the published form, all sensors at 1 Hz."""
    folder = tmp_path / "published"
    folder.mkdir()
    for place, sensor in enumerate(SENSORS):
        np.savetxt(folder / f"{sensor}.txt", np.full((3, 60), float(place)), delimiter="\t", fmt="%.2f")
    (folder / "profile.txt").write_text("3\t100\t0\t130\t0\n" * 3)
    return folder


def test_import_writes_a_recording_and_reports_it(source, tmp_path, capsys):
    assert main(["import", "uci-hydraulic", str(source), "--out", str(tmp_path / "r"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "recording": str(tmp_path / "r"), "machine": "uci-hydraulic-rig", "cycles": 3, "rows": 180, "sensors": 17,
        "groups": 1, "rate_hz": 1.0,
    }  # fmt: skip
    recording = read_recording(tmp_path / "r")
    assert recording.truth.fault[:4].tolist() == ["cooler_fouling", "", "", ""]
    assert recording.info["sampling"]["rate_hz"] == 1.0


def test_the_report_for_people_is_one_sentence(source, tmp_path, capsys):
    assert main(["import", "uci-hydraulic", str(source), "--out", str(tmp_path / "r"), "--rate", "0.5"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.endswith("3 cycles of uci-hydraulic-rig in 1 blocks, 90 rows of 17 sensors at 0.5 Hz")


def test_a_bad_source_is_one_line_and_leaves_nothing(source, tmp_path, capsys):
    (source / "SE.txt").write_text("1\tx\n")
    assert main(["import", "uci-hydraulic", str(source), "--out", str(tmp_path / "r")]) == 1
    captured = capsys.readouterr()
    assert captured.err == "gnn-service: SE.txt: line 1, value 2: 'x' is not a number\n"
    assert captured.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["published"]


def test_an_occupied_folder_is_kept_unless_told(source, tmp_path, capsys):
    target = tmp_path / "r"
    target.mkdir()
    (target / "precious").touch()
    assert main(["import", "uci-hydraulic", str(source), "--out", str(target)]) == 1
    assert "not empty" in capsys.readouterr().err
    assert (target / "precious").exists()
    assert main(["import", "uci-hydraulic", str(source), "--out", str(target), "--overwrite"]) == 0
    assert not (target / "precious").exists()


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_read(tmp_path, capsys):
    (tmp_path / "r").touch()
    assert main(["import", "uci-hydraulic", str(tmp_path / "no-source"), "--out", str(tmp_path / "r")]) == 1
    assert "a file stands" in capsys.readouterr().err


def test_without_an_out_folder_it_is_wrong_usage(source, capsys):
    assert main(["import", "uci-hydraulic", str(source)]) == 2
    assert "--out" in capsys.readouterr().err
