"""Files and folders are written whole or not at all."""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from nlpipe import files
from nlpipe.errors import ArtifactError
from nlpipe.files import atomic_folder, atomic_write, sha256, sweep


def content(folder: Path) -> dict[str, bytes]:
    """All files below `folder` with their bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def fail(monkeypatch: pytest.MonkeyPatch, name: str, number: int = errno.ENOSPC) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, failing)


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_a_file_is_made_with_its_folders_and_replaced(tmp_path: Path) -> None:
    atomic_write(tmp_path / "new" / "deep" / "a.json", "grün")
    atomic_write(tmp_path / "new" / "deep" / "a.json", b"\x00\xff")
    assert content(tmp_path) == {"new/deep/a.json": b"\x00\xff"}


def test_a_written_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    atomic_write(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "far" / "file")
    atomic_write(tmp_path / "near", "here")
    assert (tmp_path / "near").is_symlink()
    assert content(tmp_path / "far") == {"file": b"here"}


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    atomic_write(tmp_path / "a", "old")
    fail(monkeypatch, name)
    with pytest.raises(ArtifactError, match=r"cannot write .*a: No space left on device"):
        atomic_write(tmp_path / "a", "new")
    assert content(tmp_path) == {"a": b"old"}


def test_a_file_in_the_place_of_a_folder_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot write"):
        atomic_write(tmp_path / "file" / "a", "")
    with pytest.raises(ArtifactError, match="cannot write"), atomic_folder(tmp_path / "file" / "a"):
        pass


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "up" / "model") as folder:
        (folder / "part").mkdir()
        (folder / "part" / "a").write_text("a")
        assert not (tmp_path / "up" / "model").exists()
    assert content(tmp_path) == {"up/model/part/a": b"a"}


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is flushed to the disk (folders by their name in capitals) and renamed, in order."""
    done: list[str] = []
    fsync, rename = os.fsync, os.replace

    def noting_fsync(handle: int) -> None:
        inode = os.fstat(handle).st_ino
        (path,) = (path for path in [tmp_path, *tmp_path.rglob("*")] if path.stat().st_ino == inode)
        name = "TOP" if path == tmp_path else path.name.removeprefix(".tmp-").split("-")[0]
        done.append(name.upper() if path.is_dir() else name)
        fsync(handle)

    def noting_replace(old: Any, new: Any) -> None:
        done.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "replace", noting_replace)
    return done


def test_a_file_is_flushed_then_renamed_then_its_folder_is_flushed(tmp_path: Path, order: list[str]) -> None:
    atomic_write(tmp_path / "a", "a")
    assert order == ["a", "rename", "TOP"]


def test_everything_in_a_folder_is_flushed_before_it_is_renamed(tmp_path: Path, order: list[str]) -> None:
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "part").mkdir()
        (folder / "part" / "a").write_text("a")
    assert order == ["a", "PART", "MODEL", "rename", "TOP"]


def test_an_existing_folder_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").write_text("mine")
    with pytest.raises(ArtifactError, match="exists already"), atomic_folder(tmp_path / "model"):
        pytest.fail("the block ran")
    assert content(tmp_path) == {"model/mine": b"mine"}


def test_an_empty_folder_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "a").write_text("a")
    assert content(tmp_path) == {"model/a": b"a"}


def test_a_folder_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    with (
        pytest.raises(ArtifactError, match="another process"),
        atomic_folder(tmp_path / "model") as folder,
    ):
        (folder / "a").write_text("a")
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "theirs").write_text("theirs")
    assert content(tmp_path) == {"model/theirs": b"theirs"}


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_existing_folder_is_replaced_as_a_whole(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "model[1]"  # a name that a glob pattern would misread
    if kind == "folder":
        place.mkdir()
        (place / "old").write_text("old")
    else:
        place.write_text("old")
    with atomic_folder(place, replace=True) as folder:
        (folder / "new").write_text("new")
    assert content(tmp_path) == {"model[1]/new": b"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["model[1]"]


def test_a_failed_block_leaves_the_old_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "model", replace=True) as folder:
        (folder / "new").write_text("new")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert content(tmp_path) == {"model/old": b"old"}


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("old")
    rename, calls = os.replace, []

    def second_fails(old: Any, new: Any) -> None:
        calls.append(new)
        if len(calls) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(old, new)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(ArtifactError), atomic_folder(tmp_path / "model", replace=True) as folder:
        (folder / "new").write_text("new")
    assert len(calls) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert content(tmp_path) == {"model/old": b"old"}


def test_a_full_disk_inside_the_block_is_told_and_a_bug_is_not(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No space left"), atomic_folder(tmp_path / "model"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "model") as folder:
        shutil.copy(tmp_path / "not there", folder)
    assert list(tmp_path.iterdir()) == []


def test_folders_without_fsync_are_tolerated_and_files_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def only_files(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", only_files)
    atomic_write(tmp_path / "a", "a")
    fail(monkeypatch, "fsync", errno.EINVAL)
    with pytest.raises(ArtifactError):
        atomic_write(tmp_path / "a", "b")
    assert content(tmp_path) == {"a": b"a"}


def test_sweeping_removes_unfinished_things_only(tmp_path: Path) -> None:
    (tmp_path / ".tmp-model-1" / "deep").mkdir(parents=True)
    (tmp_path / ".tmp-file-2").write_text("")
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "kept").write_text("")
    (tmp_path / ".tmp-link-3").symlink_to(tmp_path / "away")
    (tmp_path / "model").mkdir()
    sweep(tmp_path)
    sweep(tmp_path / "not there")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["away", "model"]
    assert content(tmp_path) == {"away/kept": b""}


def test_a_lent_folder_goes_with_its_owner_and_what_the_killed_left_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    class Owner: ...

    owner, long_ago = Owner(), time.time() - 3600
    held = files.lent(owner, "some-")
    (held / "weights").write_text("…")
    killed, other = tmp_path / "some-killed", tmp_path / "another"
    for folder in (killed, other):
        (folder / "inner").mkdir(parents=True)
    fresh = tmp_path / "some-fresh"  # made by another process a moment ago, and not locked yet
    fresh.mkdir()
    for folder in (held, killed, other):
        os.utime(folder, (long_ago, long_ago))
    second = files.lent(owner, "some-")
    assert sorted(tmp_path.iterdir()) == sorted([held, second, other, fresh])
    del owner
    gc.collect()
    assert sorted(tmp_path.iterdir()) == sorted([other, fresh])
