"""Children of the tests' own process: they have what it has imported, which takes a fresh interpreter seconds.

For tests that need a process of their own, and not a fresh one.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess

PATIENCE = 120  # seconds
FORKING = sys.platform == "linux"


def forked(world: int, work: Callable[[int], object]) -> list[int]:
    """How `work(rank)` ended in each of so many processes that know of each other (gloo), through files."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    children = [
        _start(lambda rank=rank: work(rank), {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(world)
    ]
    return [_end(child) for child in children]


def in_a_fork(
    work: Callable[[], object], folder: Path, environ: Mapping[str, str] | None = None
) -> CompletedProcess[str]:
    """Do `work` in a process of its own, in a working directory: how it ended and what it printed."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:

        def apart() -> None:
            os.chdir(folder)
            for number, file in ((1, out), (2, err)):
                os.dup2(file.fileno(), number)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            logging.root.handlers.clear()  # pytest's
            work()

        code = _end(_start(apart, environ or {}))
        for file in (out, err):
            file.seek(0)
        return CompletedProcess([], code, out.read(), err.read())


def nlpipe(words: Sequence[str]) -> None:
    """`nlpipe WORDS…`, by the function that the installed command calls: for a fork."""
    from nlpipe.cli import main

    sys.argv = ["nlpipe", *words]
    main()


def _start(work: Callable[[], object], environ: Mapping[str, str]) -> int:
    """Its process id. It ends with 0, with what SystemExit says, or with 1 after a traceback."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code: object = 1
    faulthandler.dump_traceback_later(PATIENCE, exit=True)  # one that hangs says where, and ends
    try:
        os.environ.update(environ)
        work()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(code))  # type: ignore[call-overload]  # an int


def _end(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
