"""Run the kit against each defect of this folder: which check catches which, and that none escapes.

    python tests/mutants/run.py [NAME …]

A defect is a patch with two lines in front of it: `What:` says what is wrong in it, `Run:` names the tests that are
asked (node ids of pytest, one or more). The tree is copied; the tests must pass there as it is, and at least one must
fail with the patch. Put one more file here and run it again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Mutant:
    """A defect: its patch, what is wrong in it, and the tests that should see it."""

    path: Path
    what: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem


def mutants(names: Sequence[str] = ()) -> Iterator[Mutant]:
    """The defects of this folder, or those named. Exits where a file lacks one of its two lines."""
    for path in sorted(HERE.glob("*.patch")):
        if names and path.stem not in names:
            continue
        head = path.read_text(encoding="utf-8").partition("\n--- ")[0]
        said = {key: re.search(rf"^{key}: (.+)$", head, re.MULTILINE) for key in ("What", "Run")}
        if not all(said.values()):
            sys.exit(f"{path.name} begins with the lines `What: …` and `Run: TEST [TEST …]`")
        what, run = (str(found[1]) for found in said.values() if found)
        yield Mutant(path, what, tuple(run.split()))


def copy(target: Path) -> None:
    """What git knows of the tree, as it lies here."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def failed(tree: Path, tests: Sequence[str]) -> tuple[set[str], str]:
    """The tests that fail in a tree, as their names without files and classes, and what pytest said."""
    paths = os.pathsep.join([str(tree), str(tree / "plugins")])
    environment = {
        **os.environ,
        **{"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"},
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=short", "-p", "no:cacheprovider", *tests],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    names = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode and not names:
        names = ["pytest itself"]
    return {name.rpartition("::")[2].removeprefix("test_") for name in names}, done.stdout + done.stderr


def patch(tree: Path, mutant: Mutant, *how: str) -> None:
    """Put the defect in, or with `-R` take it out."""
    subprocess.run(["git", "apply", *how, str(mutant.path)], cwd=tree, check=True)


def main(names: Sequence[str]) -> int:
    """Print the table; 1 where a defect escaped."""
    chosen = list(mutants(names))
    escaped = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder)
        copy(tree)
        tests = list(dict.fromkeys(test for mutant in chosen for test in mutant.tests))
        print(f"{len(chosen)} defects, {len(tests)} tests. Without any defect …", flush=True)
        broken, said = failed(tree, tests)
        if broken:
            print(said[-4000:])
            print(f"the tests fail as the tree is: {', '.join(sorted(broken))}")
            return 1
        width = max(len(mutant.name) for mutant in chosen)
        for mutant in chosen:
            patch(tree, mutant)
            caught, _ = failed(tree, mutant.tests)
            patch(tree, mutant, "-R")
            print(f"{mutant.name:<{width}}  {', '.join(sorted(caught)) or 'ESCAPED'}", flush=True)
            if not caught:
                escaped.append(mutant)
    for mutant in escaped:
        print(f"\n{mutant.name} escaped: {mutant.what}\n  asked: {' '.join(mutant.tests)}")
    print(f"\n{len(chosen) - len(escaped)} of {len(chosen)} defects caught")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
