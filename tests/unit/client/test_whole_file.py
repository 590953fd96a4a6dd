"""Files are written whole or not at all, wherever they lie."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ridgeline.whole_file import whole_file


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new.txt"
    with whole_file(path) as part:
        part.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["new.txt"]


def test_what_lay_there_stays_when_anything_goes_wrong(tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    path.write_text("old")

    def break_off() -> None:
        with whole_file(path) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["old.txt"]


def test_a_new_file_has_what_the_mask_leaves_and_an_old_one_what_it_had(tmp_path: Path) -> None:
    new, old = tmp_path / "new.txt", tmp_path / "old.txt"
    old.touch(0o600)
    old.chmod(0o600)
    mask = os.umask(0o027)
    try:
        for path in (new, old):
            with whole_file(path) as part:
                part.write_text("x")
    finally:
        os.umask(mask)
    assert [path.stat().st_mode & 0o777 for path in (new, old)] == [0o640, 0o600]


def test_a_pipe_is_written_as_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with whole_file(pipe) as part:
        part.write_text("through")
    reader.join(10)
    assert read == ["through"]
    assert pipe.is_fifo()


def test_a_folder_that_is_not_there_is_told_by_the_files_own_name(tmp_path: Path) -> None:
    path = tmp_path / "no" / "file"
    with pytest.raises(FileNotFoundError) as caught, whole_file(path):
        raise AssertionError("nothing is to be written")
    assert caught.value.filename == str(path)
