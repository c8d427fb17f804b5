"""`nlpipe predict`: from file to file, row by row; what is bad, what is interrupted, what is taken up again."""

from __future__ import annotations

import gc
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nlpipe.answering import LOOK_AHEAD
from nlpipe.engines import engine
from nlpipe.errors import DataError, UnsupportedError
from nlpipe.intake import Intake
from nlpipe.parsers import Row
from nlpipe.pipelines import Pipeline
from nlpipe.predicting import Asking, chosen, locally, predict
from nlpipe.writers import WRITABLE

from .threads import torch_threads

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    from nlpipe.testing.tiny import tiny_model
    from tests.support import untrained

    return untrained("classification", tiny_model("bert", tmp_path_factory.mktemp("bert")), ("no", "so", "yes"))


def texts(count: int) -> list[str]:
    return [f"The small fox saw {number} birds" for number in range(count)]


def lines(path: Path, rows: Rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(path: Path) -> Rows:
    """Rows of any format that is written."""
    from nlpipe.readers import iter_rows

    return list(iter_rows(path))


def stopping(after: int, error: BaseException) -> Any:
    """An engine that is interrupted after so many rows."""

    def found(asking: Asking, intake: Intake, skip: int) -> Iterator[Any]:
        for number, one in enumerate(locally(asking, intake, skip)):
            if number == after:
                raise error
            yield one

    return found


@pytest.fixture
def one_thread() -> Iterator[None]:
    """By several threads a row's last digits depend on its company."""
    with torch_threads(1):
        yield


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", [*(f"out.{kind}" for kind in WRITABLE), "out.jsonl.gz", "out.csv.gz"])
def test_what_is_interrupted_is_taken_up(pipe: Pipeline, tmp_path: Path, name: str) -> None:
    """In each format, twice interrupted, a bad row on each side: the same bytes as of a run that was not."""
    rows: Rows = [{"text": text, "id": number} for number, text in enumerate(texts(40))]
    rows[3]["text"] = rows[30]["text"] = 5
    source = lines(tmp_path / "in.jsonl", rows)
    (tmp_path / "whole").mkdir()
    whole = predict(pipe, source, str(tmp_path / "whole" / name))
    assert (whole.rows, whole.bad) == (38, 2)
    target = tmp_path / name
    with pytest.raises(KeyboardInterrupt, match="9 rows are answered and kept: the same command with --resume goes on"):
        predict(pipe, source, str(target), engine=stopping(10, KeyboardInterrupt()))
    assert not target.exists()
    partial, note = target.with_name(f"{name}.partial"), target.with_name(f"{name}.partial.json")
    assert json.loads(note.read_text())["rows"] == 10
    with partial.open("ab") as torn:
        torn.write(b'{"text": "The sm')  # what a killed process leaves behind its last commit
    with pytest.raises(RuntimeError):
        predict(pipe, source, str(target), resume=True, engine=stopping(5, RuntimeError()))
    done = predict(pipe, source, str(target), resume=True)
    assert done == type(done)(38, 0, 2, tmp_path / "out.errors.jsonl")
    assert target.read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert read(tmp_path / "out.errors.jsonl") == read(tmp_path / "whole" / "out.errors.jsonl")
    assert [row["row"] for row in read(tmp_path / "out.errors.jsonl")] == [4, 31]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "in.jsonl", "out.errors.jsonl", "whole"])
    if name != "out.tsv":
        assert len(read(target)) == 38


def test_what_is_taken_up_must_be_the_same(pipe: Pipeline, tmp_path: Path) -> None:
    """Model, options, columns and rows; and the output as it was left."""
    rows: Rows = [{"text": text, "other": "x"} for text in texts(20)]
    source, target = lines(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        predict(pipe, source, str(target), model="m", engine=stopping(10, KeyboardInterrupt()))

    def refused(said: str, **changes: Any) -> None:
        with pytest.raises(DataError, match=said):
            predict(pipe, changes.pop("source", source), str(target), **{"model": "m", "resume": True, **changes})

    refused("has 10 answers of an unfinished run: go on with --resume, or remove it", resume=False)
    refused('was begun with model "m", this is "other"', model="other")
    refused("was begun with columns none, this is", columns={"text": "other"})
    refused('was begun with errors ".*out.errors.jsonl", this is none', errors="raise")
    refused("was begun with options none, this is", options={"windows": "max"})
    refused('was begun with input ".*in.jsonl", this is ".*two.jsonl"', source=lines(tmp_path / "two.jsonl", rows))
    rows[4]["text"] = "changed"
    lines(tmp_path / "in.jsonl", rows)
    refused("the first 10 rows of .*in.jsonl are not those that were answered")
    rows[4]["text"] = texts(20)[4]
    lines(tmp_path / "in.jsonl", [*rows, {"text": "one more"}])  # what comes behind may change
    partial = tmp_path / "out.jsonl.partial"
    kept = partial.read_bytes()
    partial.write_bytes(kept[:-5])
    refused("bytes, and .* were written: it was changed")
    partial.write_bytes(b"x" + kept[1:])
    refused("is not what was written: it was changed")
    partial.write_bytes(kept)
    note = tmp_path / "out.jsonl.partial.json"
    state = note.read_text()
    note.write_text("{")
    refused("is damaged")
    note.write_text(state)
    assert predict(pipe, source, str(target), model="m", resume=True).rows == 21
    assert [row["text"] for row in read(target)] == [*texts(20), "one more"]


def test_nothing_to_take_up_begins_anew(pipe: Pipeline, tmp_path: Path) -> None:
    source = lines(tmp_path / "in.jsonl", [{"text": "a"}])
    assert predict(pipe, source, str(tmp_path / "out.jsonl"), resume=True).rows == 1
    with pytest.raises(DataError, match="a stream cannot be written on"):
        predict(pipe, source, "-", resume=True)
    with pytest.raises(DataError, match=r"no answer|cannot be written as json"):
        predict(pipe, source, str(tmp_path / "out.json"))


BAD = {
    "jsonl": (b'{"text": "a"}\n{"text": "b"\n[1]\n{"text": 5}\n{"txt": "a"}\n{"text": "sch\xf6n"}\n{"text": "z"}\n', 7),
    "csv": (b'text,id\na,1\nb\n"c"d,3\nsch\xf6n,4\nz,5\n', 5),
    "txt": (b"a\nsch\xf6n\nz\n", 3),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_rows_go_to_a_file_and_the_rest_goes_on(pipe: Pipeline, tmp_path: Path, kind: str) -> None:
    content, count = BAD[kind]
    source = tmp_path / f"in.{kind}"
    source.write_bytes(content)
    done = predict(pipe, str(source), str(tmp_path / "out.csv"))
    assert [row["text"] for row in read(tmp_path / "out.csv")] == ["a", "z"]
    assert (done.rows, done.bad, done.errors) == (2, count - 2, tmp_path / "out.errors.jsonl")
    reasons = {row["row"]: row["reason"] for row in read(tmp_path / "out.errors.jsonl")}
    wanted = {
        "jsonl": {
            2: "is no JSON: expecting ',' delimiter at column 13",
            3: "must be an object, is",
            4: "text must be text, is 5",
            5: "has no column 'text'; did you mean 'txt'",
            6: "is not UTF-8: it has the byte 0xf6 after",
        },
        "csv": {2: "has 1 field, the header has 2", 3: "text behind a closing quote", 4: "byte 0xf6 after 'sch'"},
        "txt": {2: "is not UTF-8: it has the byte 0xf6 after 'sch' (text)"},
    }[kind]
    assert list(reasons) == list(wanted)
    for row, said in wanted.items():
        assert said in reasons[row]
    named = predict(pipe, str(source), str(tmp_path / "out.csv"), errors=str(tmp_path / "bad.jsonl"))
    assert named.errors == tmp_path / "bad.jsonl"
    first = next(iter(wanted))
    with pytest.raises(DataError, match=rf"in.{kind}: row {first}\b.*: "):
        predict(pipe, str(source), str(tmp_path / "new.csv"), errors="raise")


def test_a_full_disk(pipe: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message; what was on the disk before is taken up once there is room."""
    source, target = lines(tmp_path / "in.jsonl", [{"text": text} for text in texts(20)]), tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        predict(pipe, source, str(target), engine=stopping(5, KeyboardInterrupt()))
    with monkeypatch.context() as full:

        def refuse(handle: int) -> None:
            raise OSError(28, "No space left on device")

        full.setattr("nlpipe.journal.os.fsync", refuse)
        with pytest.raises(
            DataError, match=r"out\.jsonl cannot be written: No space(?s:.*)5 rows are answered and kept"
        ):
            predict(pipe, source, str(target), resume=True)
    assert predict(pipe, source, str(target), resume=True).rows == 20
    assert [row["text"] for row in read(target)] == texts(20)


def test_errors_of_an_earlier_run_are_gone(pipe: Pipeline, tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", str(tmp_path / "out.jsonl")
    lines(source, [{"text": "a"}, {"text": 5}])
    assert predict(pipe, str(source), target).bad == 1
    lines(source, [{"text": "a"}, {"text": "b"}])
    assert predict(pipe, str(source), target).errors is None
    assert not (tmp_path / "out.errors.jsonl").exists()


def test_sources_that_break_off(pipe: Pipeline, tmp_path: Path) -> None:
    """What came before is kept, and goes on once the file is whole."""
    whole = 'text,id\na,1\nb,2\n"c",3\n'
    source, target = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text(whole.replace('"c"', '"c'))
    with pytest.raises(
        DataError, match=r"row 3 \(line 4\) opens a quote.*never closed(?s:.*)2 rows are answered and kept"
    ):
        predict(pipe, str(source), str(target))
    source.write_text(whole)
    assert predict(pipe, str(source), str(target), resume=True).rows == 3
    cut = tmp_path / "in.jsonl.gz"
    cut.write_bytes(gzip.compress(os.urandom(50).hex().encode())[:-20])
    with pytest.raises(DataError, match="is cut off or no gzip file"):
        predict(pipe, str(cut), str(target))


def test_files_that_fit_not_at_all(pipe: Pipeline, tmp_path: Path) -> None:
    """One message for the file, and nothing is left behind."""
    target = str(tmp_path / "out.jsonl")
    for name, content, said in [
        ("in.csv", "review,id\na,1\n", "in.csv has no column 'text'.*say --columns text=THEIRS"),
        (
            "in.jsonl",
            '{"text": 1}\n{"text": 2}\n',
            "none of the 2 rows of .*in.jsonl can be answered: row 1: text must be",
        ),
        ("in.csv", "", "is empty"),
        ("in.doc", "a", "which is no format nlpipe reads"),
        ("empty.csv", "text\n", "has no rows"),
    ]:
        source = tmp_path / name
        source.write_text(content)
        with pytest.raises(DataError, match=said):
            predict(pipe, str(source), target)
        source.unlink()
    with pytest.raises(DataError, match="there is no file"):
        predict(pipe, str(tmp_path / "in.csv"), target)
    source = tmp_path / "in.csv"
    source.write_text("text\na\n")
    with pytest.raises(DataError, match="no folder"):
        predict(pipe, str(source), str(tmp_path / "no" / "out.jsonl"))
    with pytest.raises(DataError, match=r"bad\.jsonl\.partial cannot be written"):
        predict(pipe, str(source), target, errors=str(tmp_path / "no" / "bad.jsonl"))
    with pytest.raises(DataError, match="did you mean 'text'"):
        predict(pipe, str(source), target, columns={"txt": "a"})
    with pytest.raises(UnsupportedError, match="unknown option 'window'"):
        predict(pipe, str(source), target, options={"window": "max"})
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_how_far_it_is(pipe: Pipeline, tmp_path: Path) -> None:
    seen: list[tuple[int, int, float | None]] = []
    for name in ("in.jsonl", "in.csv", "in.parquet"):
        from nlpipe.writers import open_writer

        with open_writer(tmp_path / name) as writer:
            for text in texts(30):
                writer.write({"text": text})
        seen.clear()
        predict(pipe, str(tmp_path / name), str(tmp_path / "out.jsonl"), watch=lambda *now: seen.append(now))
        assert [rows for rows, _, _ in seen] == list(range(1, 31))
        shares = [share for _, _, share in seen]
        assert all(share is not None and 0 < share <= 1 for share in shares)
        assert shares == sorted(shares)  # type: ignore[type-var]
        assert shares[-1] == 1


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """What is held are the rows that are looked at ahead: those that are written are gone."""
    source = tmp_path / "in.txt"
    source.write_text("".join(f"a line of text with the number {number}\n" for number in range(9_000)))
    ahead, held = [], []

    def watched(asking: Asking, intake: Intake, skip: int) -> Iterator[Any]:
        for number, one in enumerate(locally(asking, intake, skip)):
            if number % 1_000 == 999:
                ahead.append(intake.read - number)
                held.append(sum(type(there) is Row for there in gc.get_objects()))
            yield one

    predict(_instant(), str(source), str(tmp_path / "out.jsonl"), engine=watched)
    assert len(held) == 9
    assert max(ahead) <= 3 * LOOK_AHEAD, ahead
    assert max(held) <= 3 * LOOK_AHEAD + 10, held


def _instant() -> Any:
    """A pipeline of the real class and task, over an objective and a runner that do nothing."""
    from dataclasses import dataclass

    from nlpipe.card import Card, Origin
    from nlpipe.objectives import SequenceLabel
    from nlpipe.objectives.base import Row as Encoded
    from nlpipe.objectives.base import Window
    from nlpipe.runners.base import Passes
    from nlpipe.task import Family

    @dataclass(frozen=True, kw_only=True)
    class Nothing(SequenceLabel):
        def encode(self, query: Any, gold: Any, tok: Any) -> list[Encoded]:
            return [Encoded([1, 2], seen=(2, 2))]

        def collate(self, rows: Any, tok: Any, **rest: Any) -> Any:
            return list(rows)

        def predict(self, runner: Any, batch: Any, call: Any) -> list[Any]:
            import numpy as np

            return [np.zeros(2)] * len(batch)

    card = Card(
        task="classification",
        labels=("a", "b"),
        family=Family.ENCODER,
        objective="SequenceLabel",
        window=Window(),
        plugin=Origin(name="x"),
        backbone=Origin(name="x"),
    )
    runner: Any = SimpleNamespace(passes=lambda *, writing: Passes(4096))
    found = Pipeline(card, runner, None)  # type: ignore[arg-type]
    found.objective = Nothing(labels=("a", "b"))
    return found


def test_choices_on_the_command_line(tmp_path: Path) -> None:
    """Options of the task go where it is made, those of a call to the calls; what fits nowhere is refused."""
    from nlpipe.plugins import Plugins
    from nlpipe.testing.tiny import tiny_model

    plugins = Plugins.discover()
    model = str(tiny_model("t5", tmp_path / "t5"))
    options = {"template": "fox: {document}", "max_new_tokens": 3}
    found, calls = chosen(model, "summarization", options, plugins)
    assert (dict(found.settings), calls) == ({"template": "fox: {document}"}, {"max_new_tokens": 3})
    pipe = found.open(plugins)
    source = lines(tmp_path / "in.jsonl", [{"document": "The small fox."}])
    predict(pipe, source, str(tmp_path / "out.jsonl"), options=calls)
    assert read(tmp_path / "out.jsonl")[0]["text"] == pipe("The small fox.", max_new_tokens=3).text
    likely, rest = chosen(model, "classification", {"labels": ["a", "b"]}, plugins, objective="Seq2SeqText")
    assert likely.open(plugins)("The small fox.").label in "ab"
    assert not rest
    for arguments, said in [
        (("m", None, {}, plugins), "--objective goes with --task"),
        (("m", "classification", {"labels": "a"}, plugins), "say a list, labels="),
    ]:
        with pytest.raises(UnsupportedError, match=said):
            chosen(*arguments, objective="Seq2SeqText")
    with pytest.raises(UnsupportedError, match="option template: "):
        chosen(model, "summarization", {"template": "{nothing}"}, plugins)[0].open(plugins)
    with pytest.raises(UnsupportedError, match="--long none: it is window"):
        chosen("m", None, {}, plugins, long="none")
    with pytest.raises(UnsupportedError, match="did you mean 'ray'"):
        engine("raye", found)
    with pytest.raises(UnsupportedError, match="--workers goes with --engine ray"):
        engine("local", found, 2)


def test_the_task_is_the_model_s_own_where_none_is_named(pipe: Pipeline, tmp_path: Path) -> None:
    """Of a model that nlpipe did not write as well; a run's folder leads to its model."""
    from transformers import AutoTokenizer, BertConfig, BertForTokenClassification

    from nlpipe.errors import ArtifactError
    from nlpipe.testing.tiny import tiny_model

    base = tiny_model("bert", tmp_path / "bert")
    folder = tmp_path / "tagger"
    names = {0: "O", 1: "B-A", 2: "I-A"}
    BertForTokenClassification(BertConfig.from_pretrained(base, id2label=names)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    assert chosen(str(folder), None, {}, pipe.plugins)[0].open(pipe.plugins).card.task == "ner"
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "nlpipe.json").touch()
    with pytest.raises(ArtifactError, match="is a run's folder; the model is in "):
        chosen(str(tmp_path / "run"), None, {}, pipe.plugins)[0].open(pipe.plugins)


def test_streams(pipe: Pipeline, tmp_path: Path, capfdbinary: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output stops at the first bad row unless a file is named."""
    source = lines(tmp_path / "in.jsonl", [{"text": "a"}, {"text": 5}, {"text": "b"}])
    with pytest.raises(DataError, match="row 2: this is not an input of classification"):
        predict(pipe, source, "-")
    capfdbinary.readouterr()
    done = predict(pipe, source, "-", errors=str(tmp_path / "bad.jsonl"))
    out = capfdbinary.readouterr().out
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["a", "b"]
    assert (done.rows, done.bad, len(read(tmp_path / "bad.jsonl"))) == (2, 1, 1)


@pytest.mark.slow
def test_a_killed_process(tmp_path: Path) -> None:
    """SIGKILL at some moment, and the same command with --resume: as if nothing had been."""
    from nlpipe.testing.tiny import tiny_model
    from tests.support import untrained

    pipe = untrained("classification", tiny_model("bert", tmp_path / "bert"), ("no", "so", "yes"))
    network: Any = pipe.runner.model  # type: ignore[attr-defined]
    network.save_pretrained(tmp_path / "model")
    pipe.tokenizers.source.save(tmp_path / "model")
    source = lines(tmp_path / "in.jsonl", [{"text": text} for text in texts(8_000)])
    often = "from nlpipe import cli, journal; journal.EVERY = 0.05; cli.main()"  # so that a short run is long enough
    command = [sys.executable, "-c", often, "predict", str(tmp_path / "model"), "--task", "classification", "--quiet"]
    command += ["--input", source, "--output"]
    note = tmp_path / "out.jsonl.partial.json"
    running = subprocess.Popen([*command, str(tmp_path / "out.jsonl")])
    while not note.exists() and running.poll() is None:
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "out.jsonl").exists()
    assert 0 < json.loads(note.read_text())["rows"] < 8_000
    subprocess.run([*command, str(tmp_path / "out.jsonl"), "--resume"], check=True)
    predict(pipe, source, str(tmp_path / "whole.jsonl"))
    for one, other in zip(read(tmp_path / "out.jsonl"), read(tmp_path / "whole.jsonl"), strict=True):
        assert one.pop("score") == pytest.approx(other.pop("score"), abs=1e-6)  # passes of other rows round otherwise
        assert one.pop("scores") == pytest.approx(other.pop("scores"), abs=1e-6)
        assert one == other


def test_a_run_killed_after_its_last_row_is_no_unfinished_one(tmp_path: Path) -> None:
    """Its output stands under its name; only the note of how far it was is left."""
    from nlpipe.journal import Journal

    target = tmp_path / "out.jsonl"
    first = Journal.open(target, None, {}, format=None, resume=False)
    first.commit()
    first.partial.replace(target)
    first.close()
    again = Journal.open(target, None, {}, format=None, resume=False)
    again.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.jsonl.gz", "out.parquet"])
@pytest.mark.parametrize("step", range(3))
def test_a_run_killed_in_its_last_steps_is_finished(
    pipe: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, name: str
) -> None:
    """After any of the renames: nothing is answered again, and nothing is left over."""
    source, target = lines(tmp_path / "in.jsonl", [{"text": "a"}, {"text": 5}, {"text": "b"}]), tmp_path / name
    whole = predict(pipe, source, str(target))
    wanted = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for path in (target, tmp_path / "out.errors.jsonl"):
        path.unlink()
    renamed, replace = [], Path.replace

    def killed(self: Path, other: Any) -> Any:
        if not self.name.startswith(".tmp-") or other == target:
            if len(renamed) == step:
                raise SystemExit("killed")
            renamed.append(other)
        return replace(self, other)

    from nlpipe.journal import Journal

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        patched.setattr(Journal, "discard", lambda journal: (_ for _ in ()).throw(SystemExit("killed")))
        with pytest.raises(SystemExit):
            predict(pipe, source, str(target))
    monkeypatch.setattr(pipe, "map", lambda *given, **options: iter(()))  # the rows are answered already
    again = predict(pipe, source, str(target), resume=True)
    assert (again.rows, again.bad) == (whole.rows, whole.bad)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == wanted
