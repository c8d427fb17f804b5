"""docs/plugins.md is true: its tutorial is followed command by command, and its reference is what the code says."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "plugins.md"
TUTORIAL = PAGE.read_text(encoding="utf-8").partition("## Tutorial")[2].partition("\n## ")[0]


def test_the_reference_is_what_the_docstrings_say() -> None:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page() == PAGE.read_text(encoding="utf-8"), "run `python docs/reference.py`"
    for name in ("nlpipe_event(event", "labels_in(examples", "SequenceLabel", "Probabilities(values", "StepDone(step"):
        assert name in module.reference()


class Reader:
    """Somebody who does what the page says, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site = folder, folder / "site-packages"
        paths = [str(self.site), *filter(None, sys.path)]
        scripts = Path(sys.executable).parent
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        }

    def does(self, language: str, block: str) -> str:
        first = block.partition("\n")[0]
        if match := re.match(r"# (\S+\.(?:py|yaml))(, continued)?$", first):
            return self.writes(match[1], block.partition("\n")[2], more=bool(match[2]))
        if language == "sh":
            return "".join(self.runs(line) for line in block.splitlines())
        return self.runs(f"{sys.executable} - <<'END'\n{block}END")

    def writes(self, path: str, content: str, *, more: bool) -> str:
        assert (self.folder / path).parent.is_dir(), f"{path} has no folder"
        with (self.folder / path).open("a" if more else "w", encoding="utf-8") as file:
            file.write(content)
        return ""

    def runs(self, line: str) -> str:
        if line.startswith("cd "):
            self.folder /= line.removeprefix("cd ")
            return ""
        if line.startswith("pip install -e"):  # into a folder of its own, and without asking an index
            pip = "-m pip install -q --no-index --no-deps --no-build-isolation --disable-pip-version-check"
            line = f"{sys.executable} {pip} --target {self.site} . && rm -r {self.site}/nlpipe_aspects"
            self.environment["PYTHONPATH"] = f"{self.folder / 'src'}{os.pathsep}{self.environment['PYTHONPATH']}"
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"$ {line}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.mark.slow
def test_the_tutorial_can_be_followed(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    blocks = re.findall(r"```(sh|python|yaml)\n(.*?)```", TUTORIAL, re.DOTALL)
    assert len(blocks) >= 10
    printed = "".join(reader.does(language, block) for language, block in blocks)
    assert "aspects" in printed
    assert "✓  learns_the_rule" in printed
    assert "✗" not in printed
    accuracy = re.search(r"accuracy +([\d.]+) %", printed)
    assert accuracy
    assert float(accuracy[1]) > 90
    assert re.search(r"^negative 0\.\d+$", printed, re.MULTILINE)
    assert len((reader.folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()) == 100
