"""Files and folders that are written whole or not at all.

Everything is written beside its place under a name that begins with `.tmp-`, flushed to the disk and then
renamed: whoever looks, or comes back after a crash, sees the old content or the new, never half of it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
import uuid
import weakref
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nlpipe.errors import ArtifactError

TEMPORARY = ".tmp-"
"""How the names of unfinished files and folders begin. Nothing under such a name is ever needed."""

_JUST_MADE = 60  # seconds

_OLD = ".old-"  # a folder moved aside while its successor takes its place

# What a full, failing or forbidden disk says; any other OSError inside `atomic_folder` is the writer's bug.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM}


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal. Raises OSError where it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(folder: Path, config: str = "config.json") -> str:
    """One digest over a folder's weights and its config: the identity of a model."""
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.safetensors"), folder / config]):
        digest.update(f"{file.name}:{sha256(file)}\n".encode())
    return digest.hexdigest()


def atomic_write(path: Path, data: bytes | str) -> None:
    """Put `data` (a str as UTF-8) at `path`, making its folders and replacing a file that stands there.

    Raises ArtifactError where the disk does not let it.
    """
    with _writing(path):
        place = path.resolve()  # a link stays a link
        temporary = _beside(place, TEMPORARY)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary, data)
            sync(temporary)
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)
        sync(place.parent)


@contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A new folder beside `path` to write into; on leaving it is flushed to the disk and renamed to `path`.

    Where the block raises, the folder is removed and `path` is as it was. A `path` where something stands
    (more than an empty folder) is refused before anything is written, or replaced as a whole with `replace`.
    No system call exchanges two folders everywhere, so replacing takes two renames: a process killed just
    between them leaves the old folder beside `path` under a name that begins with `.old-`.

    Raises ArtifactError for a refused `path`, and for a full, failing or forbidden disk, inside the block
    too.
    """
    with _writing(path):
        place = path.resolve()
        if not replace and _taken(place):
            raise ArtifactError(f"{path} exists already. Choose another place, or remove it first.")
        temporary = _beside(place, TEMPORARY)
        temporary.mkdir(parents=True)
    try:
        with _writing(path, only=_DISK):
            yield temporary
        with _writing(path):
            sync_tree(temporary)
            _put(temporary, place, replace)
    finally:
        remove(temporary)


def write(path: Path, data: bytes | str) -> None:
    """Write a file that nobody looks at yet: not atomic, not flushed. Raises OSError."""
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def sync(path: Path) -> None:
    """Have the system put a file, or a folder's list of names, on the disk itself. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems know no fsync for folders; they write names at once.
        if not (path.is_dir() and error.errno in {errno.EINVAL, errno.ENOTSUP}):
            raise
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """`sync` for every file and folder in `folder`, and for itself, the innermost first. Raises OSError."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(parent, name))
        sync(Path(parent))


def remove(path: Path) -> None:
    """Remove a file or a folder that nobody needs, as far as the disk lets it. Raises nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Remove a folder that is never seen half removed: it is renamed first. Raises OSError."""
    remove(folder.replace(_beside(folder, TEMPORARY)))


def sweep(folder: Path) -> None:
    """Remove what killed writers left in `folder`. Only for a folder that one process alone writes to."""
    for leftover in _named(folder, TEMPORARY):
        remove(leftover)


def is_vacant(folder: Path) -> bool:
    """Whether a folder has nothing but what killed writers left."""
    return all(path.name.startswith(TEMPORARY) for path in folder.iterdir())


def lent(owner: object, prefix: str) -> Path:
    """A new folder among the system's temporary ones that goes when `owner` does.

    A process that was killed leaves its own, which the next call with the same prefix removes: a folder is locked while
    its process lives.
    """
    for leftover in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        _reclaim(leftover)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    weakref.finalize(owner, _give_back, folder, _lock(folder))
    return folder


def _reclaim(folder: Path) -> None:
    """Remove a folder that no living process holds; one just made may not be locked yet."""
    with suppress(OSError):
        if time.time() - folder.stat().st_mtime > _JUST_MADE and (lock := _lock(folder)) is not None:
            _give_back(folder, lock)


def _lock(folder: Path) -> int | None:
    """A handle that locks the folder until it is closed; None where another has it, or there are no such locks."""
    if sys.platform == "win32":
        return None
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _give_back(folder: Path, lock: int | None) -> None:
    remove(folder)
    if lock is not None:
        os.close(lock)


def unwritable(path: Path, error: OSError) -> ArtifactError:
    """What to tell the user of an OSError met while writing to `path`."""
    return ArtifactError(f"cannot write {path}: {error.strerror or error}. Nothing half written is left there.")


@contextmanager
def _writing(path: Path, only: Collection[int] | None = None) -> Iterator[None]:
    """What the disk refuses inside becomes the user's ArtifactError; with `only`, for these of its numbers."""
    try:
        yield
    except Exception as error:
        refused = _refused(error)
        if refused is None or (only is not None and refused.errno not in only):
            raise
        raise unwritable(path, refused) from error


def _refused(error: Exception) -> OSError | None:
    """The system's error in an exception: itself, or what a library in Rust (safetensors, tokenizers) makes of it."""
    if isinstance(error, OSError):
        return error
    said = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(said[1]), os.strerror(int(said[1]))) if said else None


def _put(temporary: Path, place: Path, replace: bool) -> None:
    """Rename a finished folder to its place, moving away what stands there."""
    if not _taken(place):
        temporary.replace(place)
    elif not replace:
        raise FileExistsError(errno.EEXIST, "another process has just written there")
    else:
        old = place.replace(_beside(place, _OLD))
        try:
            temporary.replace(place)
        except OSError:
            old.replace(place)
            raise
    sync(place.parent)
    for leftover in _named(place.parent, f"{_OLD}{place.name}-"):  # also of writers killed while removing
        remove(leftover)


def _taken(place: Path) -> bool:
    """Whether something stands at `place` that is more than an empty folder."""
    return place.exists() and not (place.is_dir() and not any(place.iterdir()))


def _named(folder: Path, prefix: str) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(prefix)] if folder.is_dir() else []


def _beside(place: Path, prefix: str) -> Path:
    return place.with_name(f"{prefix}{place.name}-{uuid.uuid4().hex[:12]}")
