"""Rows from a file or a stream to answers in another, in constant memory. What `nlpipe predict` calls."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice, tee
from pathlib import Path
from typing import IO, Any

from nlpipe.errors import ArtifactError, DataError, UnsupportedError, suggest
from nlpipe.intake import STREAM, Bad, Intake, Item, Source
from nlpipe.journal import Journal
from nlpipe.parsers import Row
from nlpipe.pipelines import Pipeline
from nlpipe.plugins import Plugins
from nlpipe.readers import FORMATS, format_of
from nlpipe.task import Format
from nlpipe.writers import open_sink, open_writer

RAISE = "raise"
"""Instead of a file of errors: the first bad row ends it all."""

Answers = Iterator[tuple[Item, Mapping[str, Any] | DataError]]
"""Each item with the fields of its answer, or what is wrong with it."""

Watch = Callable[[int, int, float | None], None]
"""Is told how far it is: rows dealt with, bad ones among them, and the share of the input that is (None: unknown)."""

Fault = Callable[[Mapping[str, Any]], None]
"""Takes a row that could not be answered."""

Engine = Callable[["Asking", Intake, int], Answers]
"""What answers the items of an intake behind the first few: `locally`, or another machine."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """How many rows were answered, how many of them were cut because `long: truncate` asked for it, how many were bad.

    `errors` is where the bad ones stand.
    """

    rows: int
    truncated: int
    bad: int = 0
    errors: Path | None = None


@dataclass(frozen=True)
class Asking:
    """A pipeline, the names of the columns that it reads (ours: theirs), and the options of all calls."""

    pipe: Pipeline
    columns: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raises DataError for a column that the task has not, UnsupportedError for an option that nobody takes."""
        known = self.pipe.task.Input.model_fields
        if unknown := [name for name in self.columns if name not in known]:
            raise DataError(
                f"--columns: {self.pipe.card.task} has no field {unknown[0]!r}; {suggest(unknown[0], known)}"
            )
        self.pipe.called(self.options)

    def lacking(self, row: Mapping[str, Any]) -> str | None:
        """What is wrong with a row that lacks a column; None with one that has all."""
        for name, one in self.pipe.task.Input.model_fields.items():
            theirs = self.columns.get(name, name)
            if one.is_required() and theirs not in row:
                return f"has no column {theirs!r}; {suggest(theirs, row)}; say --columns {name}=THEIRS"
        return None

    def given(self, item: Item) -> Any:
        """A row's cells under the task's own names; what is none stays as it is, and is no input of any task."""
        if isinstance(item, Bad) or self.lacking(item.cells):
            return item
        named = ((name, self.columns.get(name, name)) for name in self.pipe.task.Input.model_fields)
        return {name: item.cells[theirs] for name, theirs in named if theirs in item.cells}

    def wrong(self, item: Item, error: DataError) -> DataError:
        """What is wrong with an item that has no answer, in words of its own where it was none to begin with."""
        if isinstance(item, Bad):
            return DataError(item.reason)
        lacking = self.lacking(item.cells)
        return DataError(lacking) if lacking else error


@dataclass(frozen=True)
class Chosen:
    """A model and how it is asked, before it is loaded: what can be sent to another machine."""

    model: str
    task: str | None = None
    objective: str = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    long: Any = None
    backend: Any = "auto"
    offline: bool = False
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None

    def open(self, plugins: Plugins | None = None) -> Pipeline:
        """A model of ours, or anyone's; the task is the model's own where none is named."""
        from nlpipe import loading

        return loading.pipeline(
            self.task,
            model=self.model,
            objective=self.objective,
            options=self.settings or None,
            labels=self.labels,
            long=self.long,
            backend=self.backend,
            offline=self.offline,
            device=self.device,
            dtype=self.dtype,
            threads=self.threads,
            plugins=plugins or Plugins.discover(),
        )


def chosen(
    model: str,
    task: str | None,
    options: Mapping[str, Any],
    plugins: Plugins,
    *,
    objective: str | None = None,
    long: str | None = None,
    backend: str = "auto",
    offline: bool = False,
) -> tuple[Chosen, dict[str, Any]]:
    """A model with the options that it is made with, and those that are left for its calls.

    A model that nlpipe did not write (`task` is said) can be given any option of its task, one of ours those of a call.
    """
    if long not in (None, "window", "truncate", "error"):
        raise UnsupportedError(f"--long {long}: it is window, truncate or error")
    if task is None:
        if objective is not None:
            raise UnsupportedError("--objective goes with --task: a model of nlpipe's is asked as it was trained")
        return Chosen(model, long=long, backend=backend, offline=offline), dict(options)
    kind = plugins.task(task)
    calls = dict(options)
    made = {name: calls.pop(name) for name in options if name in kind.Options.model_fields}
    labels = calls.pop("labels", ())
    if labels and not isinstance(labels, list | tuple):
        raise UnsupportedError(f"--option labels={labels}: say a list, labels=[time, place]")
    named = tuple(map(str, labels))
    return Chosen(model, task, objective or "auto", made, named, long, backend, offline), calls


def locally(asking: Asking, intake: Intake, skip: int) -> Answers:
    """The answers of this very process."""
    kept, asked = tee(intake.skip(skip))
    results = asking.pipe.map(map(asking.given, asked), errors="return", **asking.options)
    for item, result in zip(kept, results, strict=True):
        yield item, asking.wrong(item, result) if isinstance(result, DataError) else result.to_dict()


def predict(
    pipe: Pipeline,
    source: str,
    target: str,
    *,
    columns: Mapping[str, str] | None = None,
    source_format: str | None = None,
    target_format: str | None = None,
    options: Mapping[str, Any] | None = None,
    errors: str | None = None,
    resume: bool = False,
    model: str = "",
    collection: str | None = None,
    engine: Engine = locally,
    watch: Watch | None = None,
) -> Predicted:
    """Answer each row of `source` (a file, or `-` for standard input) into `target` (a file, or `-`).

    Input columns are kept; the result's fields follow, with `predicted_` before a name that is taken. `columns`
    maps the task's field names to the file's; `options` are those of a call. Standard input is text lines unless
    `source_format` says else, standard output JSON lines.

    A row that cannot be read or answered goes to the file `errors` (JSON lines with `row`, `line`, `reason` and the
    `input`), and the rest goes on; None is `NAME.errors.jsonl` beside the output, and `raise` where that is a stream:
    then the first bad row is the end. `collection` is the file of what a task answers from that ranks documents.
    `resume` goes on with an output that an earlier call left unfinished, of the same rows and the same `model`. `watch`
    is told now and then how far it is.

    Raises DataError for what cannot be read or written, and where no row at all could be answered.
    """
    if collection is not None:
        if engine is not locally:
            raise UnsupportedError("a collection is searched in this process: leave --engine out")
        pipe = over(pipe, collection)
    asking = Asking(pipe, dict(columns or {}), dict(options or {}))
    asking.check()
    own = pipe.task.formats
    intake = Intake(Source(source, source_format, own))
    kind = format_of(target, target_format or ("jsonl" if target == STREAM else None), own)[0]
    whole = kind in own and kind not in FORMATS
    file = target != STREAM and not whole and (not Path(target).exists() or Path(target).is_file())
    if resume and not file:
        what = f"{kind} is written as a whole" if whole else "a stream cannot be written on"
        raise DataError(f"--resume: {what}; it goes with a file of jsonl, csv, tsv or parquet")
    kept = _errors_of(target, errors, beside=file or (whole and target != STREAM))
    work = _Work(asking, intake, kept, engine, watch)
    if file:
        run: dict[str, Any] = {"model": model, "weights": fingerprint(pipe), "task": pipe.card.task, "input": source}
        run |= {"columns": asking.columns, "options": asking.options, "format": kind}
        run |= {"errors": kept and str(kept)}
        run |= {"collection": collection} if collection is not None else {}
        return work.into(Journal.open(Path(target), kept, _plain(run), format=target_format, resume=resume))
    sink = sys.stdout.buffer if target == STREAM else Path(target)
    if whole:
        return work.as_own(own[kind], kind, sink)
    return work.as_stream(sink, kind)


def over(pipe: Pipeline, collection: str) -> Pipeline:
    """The pipeline answering from the rows of a file; `_id`, as BEIR has it, is an `id`.

    Raises UnsupportedError for a task that answers from none, DataError for a file that cannot be read.
    """
    from nlpipe.data import read_table, records

    kind = pipe.task.Item
    if kind is None:
        return pipe.index(())  # says which tasks do
    table = read_table(collection)
    columns = {"id": "_id"} if "_id" in table.columns and "id" in kind.model_fields else {}
    return pipe.index(records(table, kind, columns, collection))


def _errors_of(target: str, errors: str | None, *, beside: bool) -> Path | None:
    """Where bad rows go; None: nowhere, the first ends it all."""
    if errors == RAISE or (errors is None and not beside):
        return None
    if errors is not None:
        return Path(errors)
    path = Path(target)
    stem = path.name.removesuffix(".gz")
    return path.with_name(f"{stem.rpartition('.')[0] or stem}.errors.jsonl")


@dataclass
class _Work:
    """One run over the rows of an intake."""

    asking: Asking
    intake: Intake
    errors: Path | None
    engine: Engine
    watch: Watch | None
    rows: int = 0
    bad: int = 0
    truncated: int = 0
    first: str = ""  # what is wrong with the first bad row

    def into(self, journal: Journal) -> Predicted:
        """Into a file that can be taken up again."""
        try:
            self._resumed(journal)
        except BaseException:
            journal.close()
            raise
        try:
            for item, found in self.engine(self.asking, self.intake, journal.state.rows):
                self._one(item, found, journal.add, journal.fault)
                journal.mark(item)
                if journal.due:
                    journal.commit()
            self._end()
            journal.finish()
        except BaseException as error:
            if not journal.answered:
                journal.discard()
                raise
            with suppress(DataError, ArtifactError):  # a full disk: what was committed before is kept
                journal.commit()
            journal.close()
            kept = f"{journal.state.answered:,} rows are answered and kept"
            if isinstance(error, DataError):
                raise DataError(f"{error}\n{kept}: once this is put right, --resume goes on") from error
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(f"{kept}: the same command with --resume goes on") from None
            raise
        return self._done()

    def _resumed(self, journal: Journal) -> None:
        """Take up what is there. Raises DataError where the source has other rows now."""
        state, source = journal.state, self.intake.source
        self.rows, self.bad, self.truncated = state.rows, state.bad, state.truncated
        if state.rows:
            if source.name == STREAM:
                raise DataError("--resume: standard input cannot be read again; name a file")
            journal.read_again(islice(Intake(source), state.rows), source.called)

    def as_stream(self, sink: IO[bytes] | Path, kind: str) -> Predicted:
        """Into a stream, row by row."""
        with self._faults() as fault, open_writer(sink, format=kind) as writer:
            for item, found in self.engine(self.asking, self.intake, 0):
                self._one(item, found, lambda row, truncated: writer.write(row), fault)
            self._end()
        return self._done()

    def as_own(self, form: Format, name: str, sink: IO[bytes] | Path) -> Predicted:
        """Into a format of the task's own, which is written as a whole."""
        if form.write is None:
            raise DataError(f"answers cannot be written as {name} ({form.summary}); take jsonl")
        with self._faults() as fault, open_sink(sink) as stream:
            for piece in form.write(self._pairs(fault)):
                stream.write(piece.encode())
            self._end()
        return self._done()

    def _pairs(self, fault: Fault) -> Iterator[tuple[dict[str, Any], Any]]:
        """(a row's cells under the task's names, its Result) of the rows that were answered."""
        kind = self.asking.pipe.task.Result
        for item, found in self.engine(self.asking, self.intake, 0):
            if self._counted(item, found, fault):
                assert isinstance(item, Row)
                named = {
                    ours: item.cells[theirs] for ours, theirs in self.asking.columns.items() if theirs in item.cells
                }
                yield {**item.cells, **named}, kind.from_dict(found)  # type: ignore[arg-type]

    def _one(self, item: Item, found: Any, add: Callable[..., None], fault: Fault) -> None:
        """One item into the output, or to the errors."""
        if not self._counted(item, found, fault):
            return
        assert isinstance(item, Row)
        seen = found.get("seen")
        try:
            add(_merged(item.cells, found), truncated=bool(seen and seen[0] < seen[1]))
        except DataError as error:
            self._bad(item, error, fault)

    def _counted(self, item: Item, found: Any, fault: Fault) -> bool:
        """Whether an item has an answer; if not, it is put to the errors."""
        self.rows += 1
        if self.watch is not None:
            share = self.intake.share
            ahead = max(self.intake.read, self.rows)
            self.watch(self.rows, self.bad, share and share * self.rows / ahead)
        if isinstance(found, DataError):
            self._bad(item, found, fault)
            return False
        seen = found.get("seen")
        self.truncated += bool(seen and seen[0] < seen[1])
        return True

    def _bad(self, item: Item, error: DataError, fault: Fault) -> None:
        called = self.intake.source.called
        line = f" (line {item.line})" if item.line is not None else ""
        if self.rows == 1 and isinstance(item, Row) and self.asking.lacking(item.cells):
            raise DataError(f"{called} {error}")  # of the file as a whole, not of a row
        if self.errors is None:
            raise DataError(f"{called}: row {item.number}{line}: {error.message}", error.problems)
        reason = "; ".join(f"{p.key} {p.message}".strip() for p in error.problems) or error.message
        self.first = self.first or f"row {item.number}{line}: {reason}"
        self.bad += 1
        there = {"row": item.number, **({} if item.line is None else {"line": item.line}), "reason": reason}
        fault({**there, "input": item.cells if isinstance(item, Row) else None})

    def _end(self) -> None:
        """Raises DataError where the source broke off, or no row of it could be answered."""
        if self.intake.broken is not None:
            raise self.intake.broken
        if self.rows and self.rows == self.bad:
            raise DataError(
                f"none of the {self.rows:,} rows of {self.intake.source.called} can be answered: {self.first}"
            )

    @contextmanager
    def _faults(self) -> Iterator[Fault]:
        """Where bad rows go of an output that is written as a whole or streamed: a file that is there at the end."""
        if self.errors is None:
            yield lambda row: None
            return
        with open_writer(self.errors, format="jsonl") as writer:
            yield lambda row: writer.write(json.loads(json.dumps(row, default=str)))
        if not self.bad:
            self.errors.unlink()

    def _done(self) -> Predicted:
        return Predicted(self.rows - self.bad, self.truncated, self.bad, self.errors if self.bad else None)


def fingerprint(pipe: Pipeline) -> str:
    """What tells one model from another: its Card, and the first numbers of each of its weights."""
    digest = hashlib.sha256(pipe.card.to_json().encode())
    network: Any = getattr(pipe.runner, "model", None)
    for name, weight in getattr(network, "named_parameters", list)():
        digest.update(f"{name} {tuple(weight.shape)} {weight.detach().flatten()[:8].float().tolist()}\n".encode())
    return digest.hexdigest()


def _plain(run: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from JSON."""
    found: dict[str, Any] = json.loads(json.dumps(dict(run), default=str))
    return found


def _merged(row: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    named = {f"predicted_{key}" if key in row else key: value for key, value in answer.items()}
    return {**row, **named}
