"""A disk that counts what is done to it below a folder, and strikes at one of these calls: full, or dead.

Python's calls are watched at their lowest (raw writes, fsync, rename …). What Rust writes for safetensors and
tokenizers is watched as one call each at its door, since Python sees no more of it. To be used in a forked child:
nothing is put back.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

NEEDS_ROOM = {"create", "write", "fsync", "mkdir", "tensors", "tokenizer"}
"""The calls that a full disk refuses; it still lets files be renamed and removed."""


class Call(NamedTuple):
    """What was asked of the disk, and of which file or folder, relative to the watched one."""

    what: str
    path: str


class Disk:
    """Watches `root`. Call number `at` (from 1) is struck: `full` refuses it and all later ones that need room;
    `before`, `halfway` and `after` kill the process there (halfway through a write; else before)."""

    def __init__(
        self, root: Path, at: int | None = None, how: Literal["full", "before", "halfway", "after"] = "full"
    ) -> None:
        self.root, self.at, self.how = str(root.resolve()), at, how
        self.calls: list[Call] = []
        self.count = 0
        self.struck: Path | None = None  # where a killed child notes what it was killed in

    def install(self) -> None:
        """Put the watched calls in place of the real ones."""
        import safetensors.torch

        from nlpipe.tokens import Tokenizer

        real_open = io.open

        def opened(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            if not set(mode) & set("wax+") or isinstance(file, int) or not self._here(file):
                return real_open(file, mode, *rest, **options)
            return self._open(file, mode, *rest, **options)

        io.open = builtins.open = opened  # type: ignore[assignment]
        os.fsync = self._watched("fsync", os.fsync, lambda fd: Path(f"/proc/self/fd/{fd}").readlink())
        for name in ("replace", "rename"):
            setattr(os, name, self._watched("rename", getattr(os, name), lambda source, target, **_: target))
        for name in ("mkdir", "unlink", "rmdir"):
            setattr(os, name, self._watched(name, getattr(os, name), lambda path, *_, **__: path))
        safetensors.torch.serialize_file = self._watched(
            "tensors", safetensors.torch.serialize_file, lambda tensors, path, *_, **__: path
        )
        Tokenizer.save = self._watched("tokenizer", Tokenizer.save, lambda _, folder: folder)  # type: ignore[method-assign]

    def _here(self, path: Any) -> bool:
        return str(Path(path).absolute()).startswith(self.root)

    def _watched(self, what: str, does: Callable[..., Any], path: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*given: Any, **options: Any) -> Any:
            at = path(*given, **options)
            inside = options.get("dir_fd") is not None  # shutil.rmtree names files relative to open folders
            if not inside and not self._here(at):
                return does(*given, **options)
            return self.call(what, at, lambda: does(*given, **options))

        return watched

    def call(self, what: str, path: Any, does: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Do one call, unless this is where it strikes."""
        full = self.how == "full"
        if full and what not in NEEDS_ROOM:
            return does()
        self.count += 1
        call = Call(what, os.path.relpath(Path(path).absolute(), self.root))
        self.calls.append(call)
        if self.at is None or self.count < self.at:
            return does()
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.how == "after":
            does()
        elif self.how == "halfway" and half is not None:
            half()
        self._die(call)
        return None

    def _die(self, call: Call) -> None:
        if self.struck is not None:
            handle = os.open(self.struck, os.O_CREAT | os.O_WRONLY)
            os.write(handle, f"{call.what} {call.path}".encode())
        os.kill(os.getpid(), signal.SIGKILL)

    def _open(
        self, file: Any, mode: str, buffering: int = -1, encoding: str | None = None, *rest: Any, **__: Any
    ) -> Any:
        raw = self.call("create", file, lambda: _Raw(self, file, mode.replace("b", "").replace("t", "")))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding or "utf-8")


class _Raw(io.FileIO):
    """A file whose writes are the disk's calls."""

    def __init__(self, disk: Disk, file: Any, mode: str) -> None:
        self.disk, self.at = disk, file
        super().__init__(file, mode)

    def write(self, data: Any) -> int:
        def write(size: int | None = None) -> int:
            return io.FileIO.write(self, bytes(data)[:size])

        return int(self.disk.call("write", self.at, write, lambda: write(len(data) // 2)))
