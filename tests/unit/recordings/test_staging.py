import stat
import tempfile
from pathlib import Path

import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.recordings.staging import staged_folder, write_text_whole


def test_a_folder_appears_when_the_block_ends_well(tmp_path):
    with staged_folder(tmp_path / "deep" / "out") as folder:
        (folder / "a.txt").write_text("a")
        assert not (tmp_path / "deep" / "out").exists()
    assert (tmp_path / "deep" / "out" / "a.txt").read_text() == "a"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_a_folder_has_the_rights_of_any_new_folder(tmp_path):
    (tmp_path / "usual").mkdir()
    with staged_folder(tmp_path / "out"):
        pass
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "out").mkdir()
    with staged_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("a")
    assert (tmp_path / "out" / "a.txt").exists()


def test_a_failure_leaves_the_target_as_it_was(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").write_text("old")

    def interrupted():
        with staged_folder(tmp_path / "out", overwrite=True) as folder:
            (folder / "new.txt").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["old.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def killed_writer(folder, name):
    """What a writer leaves that is killed while it writes."""
    left = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".partial", dir=folder))
    (left / "half.txt").write_text("half")
    return left


def test_who_replaces_a_folder_removes_what_a_killed_writer_of_it_left_and_of_no_other(tmp_path):
    killed_writer(tmp_path, "out")
    others = {killed_writer(tmp_path, "out.2"), killed_writer(tmp_path, "another")}
    with staged_folder(tmp_path / "out", overwrite=True) as folder:
        (folder / "a.txt").write_text("a")
    assert set(tmp_path.iterdir()) == {tmp_path / "out", *others}


def test_what_a_killed_writer_had_put_aside_comes_back_before_it_is_replaced(tmp_path):
    old = Path(tempfile.mkdtemp(prefix=".out.", suffix=".old", dir=tmp_path))
    (old / "out").mkdir()
    (old / "out" / "old.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt), staged_folder(tmp_path / "out", overwrite=True):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "old.txt").read_text() == "old"


def test_a_file_in_the_way_is_never_replaced(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InvalidInputError, match="a file stands where"), staged_folder(tmp_path / "out", overwrite=True):
        pass
    assert (tmp_path / "out").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_said_to_be_one(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="cannot be written"), staged_folder(tmp_path / "file" / "out"):
        pass


def test_a_text_file_is_replaced_only_when_told(tmp_path):
    path = tmp_path / "deep" / "a.toml"
    write_text_whole("one", path)
    with pytest.raises(InvalidInputError, match="--overwrite"):
        write_text_whole("two", path)
    assert path.read_text() == "one"
    write_text_whole("two", path, overwrite=True)
    assert path.read_text() == "two"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.toml"]
