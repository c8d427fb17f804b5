"""Reading, judging, sharing out and writing rows: `nlpipe.data` and the modules below it."""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import random
import subprocess
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator

from nlpipe.data import FORMATS, Split, iter_rows, load_splits, open_writer, read_table, records
from nlpipe.errors import DataError, PluginError
from nlpipe.rows import to_record
from nlpipe.task import Record


class Review(Record):
    text: str
    label: str | int | None = None
    score: float = 0.5


class Answers(Record):
    text: tuple[str, ...]
    answer_start: tuple[int, ...]


class Everything(Record):
    text: str
    tokens: tuple[str, ...] = ()
    answers: Answers | None = None
    rank: int = 0
    good: bool = False
    side: Literal["left", "right"] = "left"
    names: tuple[str, ...] | str = ""


REVIEWS = [{"text": "good", "label": "pos"}, {"text": "bad", "label": "neg"}]


def put(path: Path, content: str | bytes) -> Path:
    """A file with that content; a `.gz` name gets it gzipped."""
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def put_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A file of any format with these rows, without the code under test."""
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        held = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), held)
        return put(path, held.getvalue())
    if kind in {"csv", "tsv"}:
        return put(path, pd.DataFrame(rows).to_csv(index=False, sep="," if kind == "csv" else "\t"))
    if kind == "txt":
        return put(path, "".join(f"{row['text']}\n" for row in rows))
    lines = [json.dumps(row) for row in rows]
    return put(path, f"[{','.join(lines)}]" if kind == "json" else "\n".join(lines))


def error(call: Callable[..., Any], *args: Any, **named: Any) -> str:
    """The message of the DataError that the call raises."""
    with pytest.raises(DataError) as caught:
        result = call(*args, **named)
        if isinstance(result, Iterator):
            list(result)
    return str(caught.value)


def read(path: Path, kind: type[Record] = Review, columns: dict[str, str] | None = None) -> list[Any]:
    return records(read_table(path), kind, columns or {}, path.name)


def cells(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return frame.to_dict("records")


# ---- imports


def test_importing_it_is_light() -> None:
    heavy = "pandas", "datasets", "torch", "pyarrow", "numpy", "transformers"
    code = f"import sys, nlpipe.data; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- formats


@pytest.mark.parametrize("zipped", ["", ".gz"])
@pytest.mark.parametrize("kind", [*FORMATS, "ndjson", "CSV"])
def test_each_format_is_known_by_its_name(tmp_path: Path, kind: str, zipped: str) -> None:
    path = tmp_path / f"a.{kind}{zipped}"
    put_rows(tmp_path / f"a.{kind.lower()}{zipped}", REVIEWS).rename(path)
    wanted = [{"text": row["text"]} for row in REVIEWS] if kind == "txt" else REVIEWS
    frame = read_table(path)
    assert cells(frame) == wanted
    assert frame.index.tolist() == [1, 2]
    assert frame.index.name == "row"
    assert list(iter_rows(path)) == wanted


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("as_stream", [False, True])
def test_each_format_can_be_named(tmp_path: Path, kind: str, as_stream: bool) -> None:
    path = put_rows(tmp_path / f"a.{kind}", REVIEWS).rename(tmp_path / "rows")
    wanted = [{"text": row["text"]} for row in REVIEWS] if kind == "txt" else REVIEWS
    if as_stream:
        assert list(iter_rows(io.BytesIO(path.read_bytes()), kind)) == wanted
    else:
        assert cells(read_table({"path": path, "format": kind})) == wanted
        assert list(iter_rows(path, kind)) == wanted


def test_a_gzipped_file_without_an_ending_can_be_named(tmp_path: Path) -> None:
    path = put_rows(tmp_path / "a.jsonl.gz", REVIEWS).rename(tmp_path / "rows")
    assert cells(read_table({"path": str(path), "format": "jsonl.gz"})) == REVIEWS


@pytest.mark.parametrize(
    "content",
    ['[{"text": "a"}]', '{"data": [{"text": "a"}]}', '{"version": "1.1", "data": [{"text": "a"}]}'],
)
def test_json_is_an_array_or_holds_one(tmp_path: Path, content: str) -> None:
    assert cells(read_table(put(tmp_path / "a.json", content))) == [{"text": "a"}]


CELLS = ["NA", "null", "None", "", "007", "1e5", "True", " spaced ", "nan", "-", "#N/A"]


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_text_cells_stay_as_written(tmp_path: Path, kind: str) -> None:
    tab = "," if kind == "csv" else "\t"
    path = put(
        tmp_path / f"a.{kind}",
        "".join(f"{tab.join(row)}\n" for row in [("text", "label"), *zip(CELLS, CELLS, strict=True)]),
    )
    assert [(row.text, row.label) for row in read(path)] == list(zip(CELLS, CELLS, strict=True))
    assert list(iter_rows(path)) == [{"text": cell, "label": cell} for cell in CELLS]


def test_json_values_stay_as_written(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": 2**100, "c": "x"}, {"a": None, "b": 1.5, "c": 3}, {"b": True, "d": [1, "a", {"e": None}]}]
    wanted = [{"a": 1, "b": 2**100, "c": "x", "d": None}, {"a": None, "b": 1.5, "c": 3, "d": None}]
    wanted.append({"a": None, "b": True, "c": None, "d": [1, "a", {"e": None}]})
    for kind in ("json", "jsonl"):
        frame = read_table(put_rows(tmp_path / f"a.{kind}", rows))
        assert cells(frame) == wanted
        assert list(frame.columns) == ["a", "b", "c", "d"]
        assert [type(cell) for cell in frame["a"]] == [int, type(None), type(None)]
    assert cells(read_table(rows)) == wanted


def test_parquet_values_are_plain(tmp_path: Path) -> None:
    rows = [{"i": 1, "l": ["a", "b"], "o": {"x": [1.5]}, "s": "NA"}, {"i": None, "l": None, "o": None, "s": None}]
    path = put_rows(tmp_path / "a.parquet", rows)
    assert cells(read_table(path)) == rows
    assert type(read_table(path)["l"].iloc[0]) is list


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "txt"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_byte_order_mark_and_line_ends_are_no_content(tmp_path: Path, kind: str, ends: str) -> None:
    path = put_rows(tmp_path / f"a.{kind}", REVIEWS)
    marked = put(tmp_path / f"b.{kind}", b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", ends.encode()))
    assert cells(read_table(marked)) == cells(read_table(path))
    text = io.StringIO(marked.read_text("utf-8"))
    assert list(iter_rows(text, kind)) == list(iter_rows(path))


def test_plain_text_keeps_empty_lines_and_splits_only_at_line_feeds(tmp_path: Path) -> None:
    path = put(tmp_path / "a.txt", "one\n\n\u2028two\x0b\x85three\r\n  four")
    assert [row["text"] for row in iter_rows(path)] == ["one", "", "\u2028two\x0b\x85three", "  four"]


def test_long_cells_are_read(tmp_path: Path) -> None:
    long = "word " * 50_000  # csv's own limit is 131,072 characters
    assert read(put(tmp_path / "a.csv", f"text\n{long}\n"))[0].text == long


# ---- row numbers


def test_row_numbers_count_rows_of_data_and_lines_of_json(tmp_path: Path) -> None:
    table = put(tmp_path / "a.csv", 'text,score\n"two\nlines",1\n\nx,2\n"a ""quote""\n\n",bad\n')
    split = load_splits({"train": put(tmp_path / "b.csv", 'text\n"two\nlines"\n\nx\n')}, Review, {}, seed=1)["train"]
    assert split.rows == [1, 2]
    assert "  row 3 (line 6)  score  must be a number, is 'bad' (text)" in error(
        load_splits, {"train": table}, Review, {}, seed=1
    )
    lines = put(tmp_path / "a.jsonl", '{"text": "a"}\n\n   \n{"text": "b"}\n')
    assert read_table(lines).index.tolist() == [1, 4]
    assert load_splits({"test": lines}, Review, {}, seed=1)["test"].rows == [1, 4]
    wrong = put(tmp_path / "b.jsonl", '\n{"text": "a"}\n\n{"text": 3.5}\n')
    assert "  row 4  text  must be text, is 3.5 (a number)" in error(read, wrong)


def test_records_number_the_rows_of_any_other_frame_from_one() -> None:
    frame = pd.DataFrame({"text": ["a", 3]}, index=[70, 80])
    assert "  row 2  text  " in error(records, frame, Review, {}, "mine")


# ---- round trips

texts = st.text(st.characters(exclude_categories=("Cs",)))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
small = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def back(tmp_path: Path, kind: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, written and read; both ways of reading, and files and streams, must agree."""
    path = tmp_path / f"a.{kind}"
    with open_writer(path) as writer:
        for row in rows:
            writer.write(row)
    found = cells(read_table(path))
    assert list(iter_rows(path)) == found
    stream = io.BytesIO()
    with open_writer(stream, kind) as writer:
        for row in rows:
            writer.write(row)
    stream.seek(0)
    assert list(iter_rows(stream, kind)) == found
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    path.unlink()
    return found


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "csv.gz", "jsonl.gz", "parquet.gz"])
@small
@given(rows=st.lists(st.fixed_dictionaries({"text": texts, "a b": texts}), min_size=1, max_size=6))
def test_text_comes_back_as_written(tmp_path: Path, kind: str, rows: list[dict[str, Any]]) -> None:
    assert back(tmp_path, kind, rows) == rows


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@small
@given(rows=st.lists(st.fixed_dictionaries({"text": texts}), min_size=1, max_size=4))
def test_a_single_column_comes_back_as_written(tmp_path: Path, kind: str, rows: list[dict[str, Any]]) -> None:
    assert back(tmp_path, kind, rows) == rows


@small
@given(rows=st.lists(st.fixed_dictionaries({"text": texts, "x": values}), min_size=1, max_size=5))
def test_json_lines_hold_any_value(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    assert back(tmp_path, "jsonl", rows) == rows


@small
@given(lines=st.lists(texts.filter(lambda t: "\n" not in t and not t.endswith("\r")), min_size=1))
def test_plain_text_comes_back_as_written(tmp_path: Path, lines: list[str]) -> None:
    path = put(tmp_path / "a.txt", "first\n" + "".join(f"{line}\n" for line in lines))
    assert read_table(path)["text"].tolist() == ["first", *lines]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_typed_rows_come_back_as_the_same_records(tmp_path: Path, kind: str) -> None:
    rows = [
        Everything(text='say "a,b"\n', tokens=("a\tb", ""), answers=Answers(text=("x",), answer_start=(3,)), rank=-7),
        Everything(text="", good=True, side="right", names="n"),
    ]
    with open_writer(tmp_path / f"a.{kind}") as writer:
        for row in rows:
            writer.write(row.model_dump())
    assert read(tmp_path / f"a.{kind}", Everything) == rows


# ---- rows to records


def test_numbers_in_text_cells_are_read_for_fields_that_want_numbers(tmp_path: Path) -> None:
    cell = ["1", " 2.5 ", "-.5", "+1e-3", "007", ""]
    path = put(tmp_path / "a.csv", "text,score\n" + "".join(f"{i},{c}\n" for i, c in enumerate(cell)))
    found = read(path)
    assert [row.score for row in found] == [1.0, 2.5, -0.5, 0.001, 7.0, 0.5]
    assert [row.text for row in found] == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize("cell", ["abc", '"1,5"', "1_000", "nan", "inf", "0x10", "1 2", "true"])
def test_text_that_is_no_number_is_refused(tmp_path: Path, cell: str) -> None:
    message = error(read, put(tmp_path / "a.csv", f"text,score\na,{cell}\n"))
    assert "row 1  score  must be a number, is " in message


def test_lists_truth_values_and_objects_in_text_cells_are_json(tmp_path: Path) -> None:
    header = "text\ttokens\tanswers\trank\tgood\tside\tnames\n"
    row = '[1]\t["a", "b"]\t{"text": ["x"], "answer_start": [0]}\t3\tTrue\tright\t["c"]\n'
    [found] = read(put(tmp_path / "a.tsv", header + row.replace('"', '"')), Everything)
    assert found == Everything(
        text="[1]",
        tokens=("a", "b"),
        answers=Answers(text=("x",), answer_start=(0,)),
        rank=3,
        good=True,
        side="right",
        names='["c"]',
    )
    message = error(read, put(tmp_path / "b.csv", "text,tokens,rank\na,b c,1.5\n"), Everything)
    assert "row 1  tokens  must be a list, is 'b c' (text); in a cell of text a list is written as JSON" in message
    assert "row 1  rank    must be a whole number, is 1.5 (a number)" in message


WRONG: list[tuple[Any, str]] = [
    (3.5, "must be text, is 3.5 (a number)"),
    (1, 'must be text, is 1 (a number); write it in quotes, "1"'),
    (True, 'must be text, is true (a truth value); write it in quotes, "true"'),
    (None, "is empty"),
    (["a"], 'must be text, is ["a"] (a list)'),
    ({"a": 1}, 'must be text, is {"a": 1} (an object)'),
]


@pytest.mark.parametrize("source", ["json", "jsonl", "parquet", "frame", "list"])
@pytest.mark.parametrize(("value", "said"), WRONG)
def test_values_that_are_no_text_are_refused(tmp_path: Path, source: str, value: Any, said: str) -> None:
    rows = [{"text": "fine" if source != "parquet" else value}, {"text": value}]
    if source == "frame":
        table = read_table(pd.DataFrame(rows))
    else:
        table = read_table(rows if source == "list" else put_rows(tmp_path / f"a.{source}", rows))
    assert f"row 2  text  {said}" in error(records, table, Review, {}, "the rows")


@pytest.mark.parametrize(
    "empty", [None, float("nan"), np.nan, pd.NA, pd.NaT, np.float32("nan")], ids=lambda value: type(value).__name__
)
def test_every_word_for_empty_means_empty(empty: Any) -> None:
    table = read_table(pd.DataFrame({"text": pd.Series(["a", empty], dtype=object)}))
    assert "row 2  text  is empty" in error(records, table, Review, {}, "x")
    table = read_table(
        pd.DataFrame({"text": ["a", "b"], "label": pd.Series([empty, "n"], dtype=object), "score": empty})
    )
    assert [(row.label, row.score) for row in records(table, Review, {}, "x")] == [(None, 0.5), ("n", 0.5)]
    with pytest.raises(DataError, match="is empty"):
        to_record({"text": empty}, Review)


@pytest.mark.parametrize("dtype", ["category", "string", "object", "str"])
def test_columns_of_pandas_own_types_are_read(dtype: str) -> None:
    frame = pd.DataFrame({"text": pd.Series(["a", "b"], dtype=dtype), "label": [np.int64(3), 4], "score": [1, 2]})
    found = records(frame, Review, {}, "x")
    assert found == [Review(text="a", label=3, score=1.0), Review(text="b", label=4, score=2.0)]
    assert type(found[0].label) is int


def test_numpy_values_become_plain() -> None:
    row = {"text": np.str_("a"), "tokens": np.array(["x", "y"], dtype=object), "rank": np.int32(4), "good": np.bool_(1)}
    assert to_record(row, Everything) == Everything(text="a", tokens=("x", "y"), rank=4, good=True)
    frame = pd.DataFrame({"text": ["a"], "tokens": [np.array(["x"])]})
    assert records(frame, Everything, {}, "x")[0].tokens == ("x",)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (datetime(2020, 1, 2), "is 2020-01-02 00:00:00 (datetime); turn it into text or a number first"),
        (pd.Timestamp("2020-01-02"), "is 2020-01-02 00:00:00 (Timestamp); turn it into text or a number first"),
        (b"ab", "is b'ab' (bytes); turn it into text or a number first"),
        (Decimal("1.5"), "is 1.5 (Decimal); turn it into text or a number first"),
        (10**5000, "is a whole number of more than 3,000 digits"),
        ("\ud800", "holds half a character (a lone surrogate)"),
        (json.loads("[" * 400 + "]" * 400), "recursion limit exceeded"),
        (json.loads("[" * 900 + "]" * 900), "is nested too deeply"),
    ],
    ids=["date", "Timestamp", "bytes", "Decimal", "huge", "surrogate", "deep", "deeper"],
)
def test_values_without_a_word_in_json_are_refused(value: Any, said: str) -> None:
    assert said in error(records, pd.DataFrame({"text": [value]}, dtype=object), Review, {}, "x")


def test_each_place_has_one_complaint() -> None:
    row = {
        "text": 1.5,
        "tokens": ["a", 2, None],
        "answers": {"text": ["x"], "answer_start": [1.5], "more": 1},
        "side": "up",
        "names": ["a", 3],
        "txet": "",
    }
    assert error(to_record, row, Everything).splitlines() == [
        "this row does not fit Everything",
        "    text                     must be text, is 1.5 (a number)",
        '    tokens[1]                must be text, is 2 (a number); write it in quotes, "2"',
        "    tokens[2]                is empty",
        "    answers.answer_start[0]  must be a whole number, is 1.5 (a number)",
        "    answers.more             is no field here",
        "    side                     must be 'left' or 'right', is 'up' (text)",
        '    names[1]                 must be text, is 3 (a number); write it in quotes, "3"',
        "    txet                     is no field here; did you mean 'text'? "
        "there are: text, tokens, answers, rank, good, side, names",
    ]
    assert "label  must be text or a whole number, is 2.5 (a number)" in error(
        to_record, {"text": "", "label": 2.5}, Review
    )
    assert "answers.text             is missing" in error(
        to_record, {"text": "", "answers": {"answer_start": [""]}}, Everything
    )
    assert "text  is missing" in error(to_record, {}, Review)


def test_a_record_s_own_rule_speaks_for_itself() -> None:
    class Strict(Record):
        text: str

        @field_validator("text")
        @classmethod
        def _not_empty(cls, text: str) -> str:
            if not text:
                raise ValueError("must not be empty text")
            return text

    frame = pd.DataFrame({"text": ["a", ""]})
    assert error(records, frame, Strict, {}, "x") == "x: 1 row cannot be used\n  row 2  text  must not be empty text"
    assert [row.text for row in records(frame, Review, {}, "x")] == ["a", ""]


def test_five_bad_rows_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    rows = [{"review": 3 if i % 2 else "fine"} for i in range(34)]
    path = put_rows(tmp_path / "a.jsonl", rows)
    message = error(read, path, Review, {"text": "review"}).splitlines()
    assert message[0] == "a.jsonl: 17 rows cannot be used"
    assert message[1] == '  row 2   text (column review)  must be text, is 3 (a number); write it in quotes, "3"'
    assert [line.split()[1] for line in message[1:6]] == ["2", "4", "6", "8", "10"]
    assert message[6].split() == ["…", "and", "12", "more", "rows"]
    assert len(message) == 7
    six = error(records, pd.DataFrame({"text": [1] * 6}), Review, {}, "x").splitlines()
    assert six[-1].split() == ["…", "and", "1", "more", "row"]
    assert len(error(records, pd.DataFrame({"text": [1] * 5}), Review, {}, "x").splitlines()) == 6


def test_columns_map_ours_to_theirs_and_leave_the_rest() -> None:
    frame = pd.DataFrame({"text": ["no"], "review": ["yes"], "other": [1]})
    assert records(frame, Review, {"text": "review"}, "x") == [Review(text="yes")]
    assert records(frame, Review, {"text": "review", "label": "text"}, "x") == [Review(text="yes", label="no")]
    assert list(frame.columns) == ["text", "review", "other"]


@pytest.mark.parametrize(
    ("there", "columns", "said"),
    [
        (["review", "sentiment"], {}, "  columns  text  there is no column 'text'; say columns: {text: <theirs>}"),
        (["txt", "label"], {}, "  columns  text  there is no column 'text'; say columns: {text: txt}"),
        (["Text"], {}, "there is no column 'text'; say columns: {text: Text}"),
        (["body", "label"], {}, "there is no column 'text'; say columns: {text: body}"),
        (["texts", "content"], {"label": "texts"}, "there is no column 'text'; say columns: {text: content}"),
        (["review", "y"], {"text": "reviw"}, "there is no column 'reviw'; say columns: {text: review}"),
        (["text", "y"], {"label": "z"}, "  columns  label  there is no column 'z'; say columns: {label: y}"),
        (["text"], {"lable": "text"}, "lable  is no field of this task; did you mean 'label'? there are: text, label"),
        (["a", "b"], {"x": "a"}, "x is a; its columns are: a, b"),
    ],
)
def test_missing_columns_and_unknown_fields(there: list[str], columns: dict[str, str], said: str) -> None:
    message = error(records, pd.DataFrame([["v"] * len(there)], columns=there), Review, columns, "x.csv")
    assert message.startswith(f"x.csv does not fit the task; its columns are: {', '.join(there)}\n")
    assert said in message or said.startswith("x is a")


def test_all_that_is_wrong_with_the_columns_is_said_at_once() -> None:
    message = error(records, pd.DataFrame({"a": ["x"], "b": ["y"]}), Review, {"x": "a", "label": "q"}, "f")
    assert [line.split()[1] for line in message.splitlines()[1:]] == ["x", "text", "label"]


# ---- broken files: name, content (None: do not write it), what must be said

GZIPPED = gzip.compress(b'{"text": "a"}\n' * 500)

BROKEN: dict[str, tuple[str, bytes | str | None, list[str]]] = {
    "missing": ("trian.csv", None, ["there is no file", "did you mean 'train.csv'?", "holds: train.csv"]),
    "missing folder": ("no/train.csv", None, ["there is no file", "there is no folder"]),
    "no suffix, missing": ("imdb", None, ["there is no file", "a data set on the Hub is {hub:"]),
    "folder": (".", None, ["is a folder; name a file in it", "holds: train.csv"]),
    "empty": ("a.csv", "", ["a.csv is empty"]),
    "empty gz": ("a.jsonl.gz", "", ["a.jsonl.gz has no rows"]),
    "empty jsonl": ("a.jsonl", "\n  \n", ["a.jsonl has no rows"]),
    "empty json": ("a.json", " \n", ["a.json has no rows"]),
    "empty array": ("a.json", "[]", ["a.json has no rows"]),
    "header only": ("a.csv", "text,label\n", ["a.csv has no rows"]),
    "unknown ending": ("a.docx", "x", ["ends in '.docx'", "say `format:`, one of csv, tsv, json, jsonl, parquet, txt"]),
    "no ending": ("rows", "x", ["has no ending that tells its format; say `format:`, one of csv"]),
    "ragged": (
        "a.csv",
        'a,b\n1,2\n"x\ny"\n1,2,3\n',
        [
            "a.csv: 2 rows cannot be read",
            "row 2 (line 3)  has 1 field, the header has 2",
            "row 3 (line 5)  has 3 fields, the header has 2",
        ],
    ),
    "ragged tsv": ("a.tsv", "a\tb\n1,2\n", ["row 1 (line 2)  has 1 field, the header has 2"]),
    "open quote": ("a.csv", 'a,b\n1,2\n"x,3\ny,4\n', ['a.csv: row 2 (line 3) opens a quote (") that is never closed']),
    "text behind quote": ("a.csv", 'a\n"x" y\n', ['row 1 (line 2) has text behind a closing quote (")']),
    "open quote in header": ("a.csv", '"a,b\n1,2\n', ['a.csv: its header opens a quote (") that is never closed']),
    "carriage returns": ("a.csv", "a,b\r1,2\r", ["its header has a bare carriage return outside quotes"]),
    "csv columns twice": ("a.csv", "a,b,a\n1,2,3\n", ["a.csv has two columns named 'a'; rename one"]),
    "latin-1": (
        "a.txt",
        b"one\ntwo caf\xe9\n",
        ["a.txt is not UTF-8: line 2 has the byte 0xe9 (byte 12 of the file) after 'two caf' (text); save it as UTF-8"],
    ),
    "latin-1 behind a mark": ("a.csv", b"\xef\xbb\xbfa\xe9\n1\n", ["line 1 has the byte 0xe9 (byte 5 of the file)"]),
    "utf-16": ("a.csv", "a,b\n".encode("utf-16"), ["is no text; it looks like UTF-16: save it as UTF-8"]),
    "gzip without its name": ("a.csv", GZIPPED, ["is no text; it looks like gzip: let its name end in .gz"]),
    "parquet without its name": ("a.csv", b"PAR1\x15\x04", ["it looks like Parquet: say format: parquet"]),
    "excel": ("a.csv", b"PK\x03\x04\x14", ["is no text; it looks like a zip archive or an Excel file"]),
    "broken jsonl": (
        "a.jsonl",
        '{"a": 1}\n{"a": 1,}\n{"a": "b',
        [
            "2 rows cannot be read",
            "line 2  is no JSON: expecting property name enclosed in double quotes at column 9",
            "line 3  is no JSON: unterminated string starting at column 7",
        ],
    ),
    "jsonl of numbers": ("a.jsonl", '3\n{"a": 1}\n', ["line 1  must be an object, is 3 (a number)"]),
    "jsonl of an array": ("a.jsonl", "[{}]\n", ["must be an object, is [{}] (a list); for one array of objects say"]),
    "key twice": ("a.jsonl", '{"a": 1, "a": 2}\n', ["line 1  is no JSON: the key 'a' stands twice in one object"]),
    "too many digits": ("a.jsonl", f'{{"a": {"9" * 5000}}}\n', ["it has a whole number of more than 4,300 digits"]),
    "too deep": ("a.jsonl", "[" * 100_000 + "\n", ["line 1  is no JSON: it is nested too deeply"]),
    "broken json": (
        "a.json",
        '[{"a": 1},\n {"a" 2}]',
        ["a.json is no JSON: line 2: expecting ':' delimiter at column 7"],
    ),
    "jsonl called json": ("a.json", '{"a": 1}\n{"a": 2}\n', ["for one object per line say format: jsonl"]),
    "json of numbers": ("a.json", "[1, 2]", ["2 rows cannot be read", "row 1  must be an object, is 1 (a number)"]),
    "json of a number": ("a.json", "3", ["must hold an array of objects", "it holds 3 (a number)"]),
    "json of two arrays": ("a.json", '{"a": [], "b": []}', ["it holds an object with 2 lists in it (a, b)"]),
    "no gzip": ("a.csv", "a\n1\n", ["is cut off or no gzip file"]),
    "cut gzip": ("a.jsonl", GZIPPED[:-30], ["is cut off or no gzip file"]),
    "broken gzip": ("a.jsonl", GZIPPED[:20] + b"\x00\xff" * 30, ["is cut off or no gzip file"]),
    "no parquet": ("a.parquet", "text,label\n", ["is cut off or no Parquet file: it cannot be read"]),
    "cut parquet": ("a.parquet", b"cut", ["is cut off or no Parquet file"]),
    "broken parquet": ("a.parquet", b"broken", ["is cut off or no Parquet file"]),
}


def broken_file(folder: Path, case: str) -> Path:
    name, content, _ = BROKEN[case]
    path = folder / name
    if content is None:
        put_rows(folder / "train.csv", REVIEWS)
    elif case in {"cut parquet", "broken parquet"}:
        data = put_rows(path, REVIEWS * 2000).read_bytes()
        put(path, data[: len(data) // 2] if case.startswith("cut") else data[:40] + b"\xff" * 100 + data[140:])
    elif case.endswith("gzip") and case.split(maxsplit=1)[0] in {"no", "cut", "broken"}:
        path = put(path, content).rename(f"{path}.gz")
    else:
        put(path, content)
    return path


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_explained(tmp_path: Path, case: str) -> None:
    path = broken_file(tmp_path, case)
    message = error(read_table, path)
    for said in BROKEN[case][2]:
        assert said in message
    assert path.name in message


@pytest.mark.parametrize("case", BROKEN)
def test_reading_row_by_row_says_the_same(tmp_path: Path, case: str) -> None:
    """The first bad row ends it, so that there is one row where the table counts several."""
    path = broken_file(tmp_path, case)
    whole, first = error(read_table, path).splitlines(), error(iter_rows, path).splitlines()
    assert first[1:] == whole[1 : len(first)]
    assert first[0] == (whole[0] if len(whole) < 3 else f"{path}: 1 row cannot be read")


def test_a_missing_file_is_missed_at_the_call(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        iter_rows(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match=r"ends in '\.doc'"):
        iter_rows(put(tmp_path / "a.doc", "x"))


def test_only_ten_neighbours_are_named(tmp_path: Path) -> None:
    for number in range(13):
        put(tmp_path / f"f{number:02}.csv", "x")
    assert error(read_table, tmp_path / "zzzz.csv").endswith("f08.csv, f09.csv and 3 more")


def test_parquet_columns_twice(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["x"]), pa.array(["y"])], names=["a", "a"])
    pq.write_table(table, tmp_path / "a.parquet")
    assert "two columns named 'a'" in error(read_table, tmp_path / "a.parquet")


def test_a_failing_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put_rows(tmp_path / "a.csv", REVIEWS)
    monkeypatch.setattr(Path, "open", lambda *_, **__: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    assert error(read_table, path).endswith("a.csv cannot be read: Input/output error")


# ---- other sources


def test_frames_are_numbered_anew_and_left_alone() -> None:
    frame = pd.DataFrame({"text": ["a", "b"], 7: [1, 2]}, index=["x", "y"])
    table = read_table(frame)
    assert table.index.tolist() == [1, 2]
    assert list(table.columns) == ["text", "7"]
    assert (list(frame.index), list(frame.columns)) == (["x", "y"], ["text", 7])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (pd.DataFrame([["x", "y"]], columns=["a", "a"]), "the train data has two columns named 'a'"),
        (pd.DataFrame({"a": []}), "the train data has no rows"),
        ([], "the train list has no rows"),
        ([{"a": 1}, 3], "row 2  must be a mapping, is 3 (a number)"),
        (object(), "the train data: a object is no data; give a path"),
        (
            {"path": "a.csv", "fromat": "csv"},
            "train: unknown key 'fromat'; did you mean 'format'? there are: path, format",
        ),
        ({"hub": "a/b", "path": "x"}, "train: unknown key 'path'; there are: hub, config, split, revision"),
        ({"format": "csv"}, "train: a source is {path: …, format: …} or {hub: …}; this one names neither"),
        (
            {"path": __file__, "format": "jsonlines"},
            "unknown format 'jsonlines'; did you mean 'jsonl'? there are: csv, tsv, json",
        ),
        ("mydb://reviews", "no plugin knows mydb://reviews, and nlpipe opens no addresses"),
        (Path("https://x.org/a.csv"), "there is no file https:/x.org/a.csv"),
    ],
)
def test_sources_that_are_none(source: Any, said: str) -> None:
    assert said in error(read_table, source)


def test_a_recipe_s_own_models_are_sources(tmp_path: Path) -> None:
    class FileSource(BaseModel):
        path: str
        format: str | None = None

    path = str(put_rows(tmp_path / "a.jsonl", REVIEWS))
    assert cells(read_table(FileSource(path=path))) == REVIEWS
    assert cells(read_table(FileSource(path=path, format="jsonl"))) == REVIEWS


def test_a_plugin_is_asked_first_once_and_only_about_text(tmp_path: Path) -> None:
    asked = []
    path = put_rows(tmp_path / "a.jsonl", REVIEWS)

    def hook(*, source: str) -> Any:
        asked.append(source)
        mine = pd.DataFrame({"text": ["mine"]})
        return {"train": mine, "test": mine} if source in {"mydb://x", "a.jsonl"} else None

    assert cells(read_table("a.jsonl", hook=hook)) == [{"text": "mine"}]  # even where there is a file
    assert cells(read_table(str(path), hook=hook)) == REVIEWS
    assert cells(read_table({"path": str(path)}, hook=hook)) == REVIEWS
    asked.clear()
    splits = load_splits({"train": "mydb://x", "test": "mydb://x", "validation": path}, Review, {}, seed=1, hook=hook)
    assert asked == ["mydb://x"]
    assert [(s.name, s.source) for s in splits.values()] == [
        ("train", "mydb://x"),
        ("test", "mydb://x"),
        ("validation", str(path)),
    ]
    assert "mydb://x has no split 'validation'; there are: train, test" in error(
        read_table, "mydb://x", split="validation", hook=hook
    )
    with pytest.raises(PluginError, match=r"a plugin answered 'mydb://x' with a list; nlpipe_dataset gives a mapping"):
        read_table("mydb://x", hook=lambda *, source: [1])
    assert "mydb://x: a int is no data" in error(read_table, "mydb://x", hook=lambda *, source: {"train": 3})


# ---- the Hub


@pytest.fixture
def dataset() -> Any:
    import datasets

    tag = datasets.ClassLabel(names=["O", "B"])
    features = datasets.Features(
        text=datasets.Value("string"),
        label=datasets.ClassLabel(names=["neg", "pos"]),
        tags=datasets.List(tag),
        spans=datasets.List({"tag": tag, "n": datasets.Value("int64")}),
    )
    rows = {
        "text": ["a", "b", "c"],
        "label": [1, 0, -1],
        "tags": [[0, 1], [], None],
        "spans": [[{"tag": 1, "n": 5}], [], [{"tag": None, "n": 6}]],
    }
    return datasets.Dataset.from_dict(rows, features=features)


def test_class_numbers_become_names(dataset: Any) -> None:
    import datasets

    wanted = [
        {"text": "a", "label": "pos", "tags": ["O", "B"], "spans": [{"tag": "B", "n": 5}]},
        {"text": "b", "label": "neg", "tags": [], "spans": []},
        {"text": "c", "label": None, "tags": None, "spans": [{"tag": None, "n": 6}]},
    ]
    assert cells(read_table(dataset)) == wanted
    assert cells(read_table(dataset.select([2, 0]))) == [wanted[2], wanted[0]]
    answer = datasets.DatasetDict(train=dataset, test=dataset.select([1]))
    assert cells(read_table("my://x", split="test", hook=lambda *, source: answer)) == [wanted[1]]


def test_a_hub_name_is_loaded_by_its_parts(dataset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    calls = []

    def load_dataset(**named: Any) -> Any:
        assert logging.getLogger("datasets").level == logging.ERROR  # it warns of every use of its cache
        calls.append(named | {"offline": datasets.config.HF_HUB_OFFLINE})
        if datasets.config.HF_HUB_OFFLINE:
            raise ConnectionError
        return dataset

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    level = logging.getLogger("datasets").level
    source = {"hub": "acme/thing", "config": "de", "split": "train[:10%]", "revision": "main"}
    splits = load_splits({"train": source, "test": {"hub": "acme/thing"}}, Review, {}, seed=1)
    assert [row.label for row in splits["train"].examples] == ["pos", "neg", None]
    assert splits["train"].source == "acme/thing"
    path = "hf://datasets/acme/thing"
    first = {"path": path, "name": "de", "split": "train[:10%]", "revision": "main"}
    second = {"path": path, "name": None, "split": "test", "revision": None}
    assert calls == [
        first | {"offline": True},  # the cache before the network
        first | {"offline": False},
        second | {"name": "default", "offline": True},
        second | {"offline": False},
    ]
    assert datasets.config.HF_HUB_OFFLINE is False
    assert logging.getLogger("datasets").level == level


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a data set into an otherwise empty cache, as `datasets` leaves one there."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def plant(name: str, config: str, commit: str, rows: dict[str, Any]) -> None:
        folder = tmp_path / "cache" / name.replace("/", "___") / config / "0.0.0" / commit
        datasets.disable_progress_bars()
        datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / commit)
        [arrow] = (tmp_path / commit).glob("*.arrow")
        folder.mkdir(parents=True)
        arrow.rename(folder / f"{name.partition('/')[2]}-train.arrow")
        info = json.loads((tmp_path / commit / "dataset_info.json").read_text())
        count = len(rows["text"])
        info |= {"builder_name": "json", "dataset_name": name.partition("/")[2], "config_name": config}
        info |= {"version": {"version_str": "0.0.0", "major": 0, "minor": 0, "patch": 0}}
        info |= {"splits": {"train": {"name": "train", "num_bytes": 1, "num_examples": count}}}
        info |= {"download_checksums": {f"hf://datasets/{name}@{commit}/a.jsonl": {"num_bytes": 1, "checksum": None}}}
        (folder / "dataset_info.json").write_text(json.dumps(info))

    return plant


def test_the_cache_serves_what_was_asked_for_and_nothing_else(
    hub_cache: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    hub_cache("acme/thing", "default", "a" * 40, {"text": ["mine"]})
    hub_cache("acme/thing", "de", "b" * 40, {"text": ["meins"]})
    for offline in (True, False):
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", offline)
        assert cells(read_table({"hub": "acme/thing"})) == [{"text": "mine"}]
        assert cells(read_table({"hub": "acme/thing", "config": "de"})) == [{"text": "meins"}]
        assert cells(read_table({"hub": "acme/thing", "revision": "a" * 40})) == [{"text": "mine"}]
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert "the cache holds another revision than cccc" in error(
        read_table, {"hub": "acme/thing", "config": "de", "revision": "c" * 40}
    )
    assert "Unknown split" in error(read_table, {"hub": "acme/thing", "config": "de", "split": "dev"})


def test_a_hub_name_without_a_network_says_so(
    hub_cache: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import datasets

    monkeypatch.chdir(tmp_path)
    put_rows(tmp_path / "thing.jsonl", REVIEWS)
    (tmp_path / "acme" / "thing").mkdir(parents=True)  # a folder of that name is not the data set
    put_rows(tmp_path / "acme" / "thing" / "a.jsonl", REVIEWS)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert error(read_table, {"hub": "acme/thing"}) == (
        "acme/thing: not in the local cache, and HF_HUB_OFFLINE forbids fetching it; a local file works as well"
    )
    assert error(read_table, {"hub": "a b"}) == (
        "'a b' is no name of a Hub data set, such as owner/name; for a file say {path: a b}"
    )
    assert not caplog.records

    def fail(**_: Any) -> Any:
        raise failure

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets, "load_dataset", fail)
    failure: Exception = ConnectionError("Couldn't reach it")
    with caplog.at_level(logging.INFO, "nlpipe"):
        assert "not in the local cache, and the Hub cannot be reached; check the network; a local file works" in error(
            read_table, {"hub": "acme/thing"}
        )
    assert caplog.messages == ["looking for the data set acme/thing on the Hub"]
    failure = datasets.exceptions.DatasetNotFoundError("Dataset 'x' doesn't exist")
    assert "the Hub has no such data set, or it is not open to you" in error(read_table, {"hub": "acme/thing"})
    failure = RuntimeError("Dataset scripts are no longer supported\nat all")
    assert "`datasets` cannot load it: Dataset scripts are no longer supported (RuntimeError); a local" in error(
        read_table, {"hub": "acme/thing"}
    )


# ---- splits and shares


def label(row: Any) -> str | None:
    return None if row.label is None else str(row.label)


def labelled(counts: dict[str | None, int]) -> list[dict[str, Any]]:
    rows = [{"text": f"{name} {i}", "label": name} for name, count in counts.items() for i in range(count)]
    random.Random(1).shuffle(rows)
    return rows


def test_splits_hold_records_rows_and_all_columns(tmp_path: Path) -> None:
    train = put_rows(tmp_path / "train.csv", [{"body": "a", "id": "1"}, {"body": "b", "id": "2"}])
    test = put_rows(tmp_path / "test.jsonl", [{"body": "c", "when": 3}])
    sources = {"train": str(train), "validation": None, "test": test}
    splits = load_splits(sources, Review, {"text": "body"}, seed=1)
    assert list(splits) == ["train", "test"]
    found = splits["train"]
    assert isinstance(found, Split)
    assert (found.name, found.source, found.rows) == ("train", str(train), [1, 2])
    assert found.examples == [Review(text="a"), Review(text="b")]
    assert cells(found.frame) == [{"body": "a", "id": "1"}, {"body": "b", "id": "2"}]
    assert cells(splits["test"].frame) == [{"body": "c", "when": 3}]


counts = st.dictionaries(st.sampled_from(["a", "b", "c", "d", None]), st.integers(1, 40), min_size=1)


@small
@given(counts, st.floats(0.05, 0.45), st.floats(0.05, 0.45), st.integers(0, 5))
def test_shares_are_disjoint_complete_and_even(sizes: dict[str | None, int], one: float, two: float, seed: int) -> None:
    rows = labelled(sizes)
    sources = {"train": rows, "validation": one, "test": two}
    try:
        splits = load_splits(sources, Review, {}, seed=seed, stratify=label)
    except DataError as failure:
        assert "takes no row" in str(failure)
        return
    assert list(splits) == ["train", "validation", "test"]
    taken = [number for split in splits.values() for number in split.rows]
    assert sorted(taken) == list(range(1, len(rows) + 1))
    for split in splits.values():
        assert split.source == "the train list"
        assert split.rows == sorted(split.rows) == split.frame.index.tolist()
        assert [row.text for row in split.examples] == [rows[n - 1]["text"] for n in split.rows]
        assert split.frame["text"].tolist() == [row.text for row in split.examples]
    kept = Counter(label(row) for row in splits["train"].examples)
    assert set(kept) == set(sizes)
    for name, share in (("test", two), ("validation", one)):
        found = Counter(label(row) for row in splits[name].examples)
        assert sum(found.values()) <= round(share * len(rows))
        for kind, size in sizes.items():
            assert found[kind] <= int(share * size) + 1
            if kept[kind] > 1:  # nothing but the last row of a class bends the share
                assert found[kind] >= int(share * size)
        if all(count > 1 for count in kept.values()):
            assert sum(found.values()) == round(share * len(rows))
    again = load_splits(sources, Review, {}, seed=seed, stratify=label)
    assert {name: split.rows for name, split in again.items()} == {name: split.rows for name, split in splits.items()}


def test_a_share_depends_on_the_seed_alone() -> None:
    rows = labelled({"a": 60, "b": 40})

    def drawn(name: str, seed: int, **more: float) -> list[int]:
        return load_splits({"train": rows, **more}, Review, {}, seed=seed, stratify=label)[name].rows

    assert drawn("validation", 1, validation=0.1) != drawn("validation", 2, validation=0.1)
    assert drawn("test", 1, test=0.1) == drawn("test", 1, test=0.1, validation=0.3)
    assert drawn("test", 1, test=0.1) != drawn("validation", 1, validation=0.1)
    assert drawn("validation", 13, validation=0.1) == [10, 23, 26, 41, 45, 60, 74, 81, 85, 100]  # for good


@pytest.mark.parametrize("seed", range(5))
def test_what_rounding_leaves_goes_to_the_largest_remainders(seed: int) -> None:
    rows = labelled({"a": 15, "b": 12, "c": 13})  # a tenth: 1.5, 1.2 and 1.3, and 4 in all
    split = load_splits({"train": rows, "test": 0.1}, Review, {}, seed=seed, stratify=label)["test"]
    assert Counter(row.label for row in split.examples) == {"a": 2, "b": 1, "c": 1}


def test_ties_do_not_always_fall_to_the_same_classes() -> None:
    rows = labelled(dict.fromkeys("abcdefghij", 3))
    got = Counter()
    for seed in range(40):
        split = load_splits({"train": rows, "test": 0.1}, Review, {}, seed=seed, stratify=label)["test"]
        assert len(split.examples) == 3
        got.update(str(row.label) for row in split.examples)
    assert set(got) == set("abcdefghij")
    assert max(got.values()) < 30


def test_without_classes_a_share_is_of_the_rows() -> None:
    rows = labelled({"a": 5, "b": 5})
    assert len(load_splits({"train": rows, "test": 0.5}, Review, {}, seed=1)["test"].rows) == 5
    assert len(load_splits({"train": rows[:2], "test": 0.9}, Review, {}, seed=1)["test"].rows) == 1


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ({"train": REVIEWS, "test": 1.5}, "test: a share of train must lie between 0 and 1, is 1.5"),
        ({"train": REVIEWS, "test": 0}, "test: a share of train must lie between 0 and 1, is 0"),
        ({"train": REVIEWS, "test": True}, "test: a share of train must lie between 0 and 1, is True"),
        ({"train": REVIEWS, "test": float("nan")}, "test: a share of train must lie between 0 and 1, is nan"),
        ({"train": 0.5, "test": REVIEWS}, "train: must be data, is 0.5; only other splits can be a share of it"),
        ({"validation": 0.5, "test": REVIEWS}, "validation: 0.5 is a share of train, and there is no train"),
        (
            {"train": REVIEWS, "validation": 0.5, "test": 0.5},
            "validation and test: shares of 1 together leave no train",
        ),
        ({"train": REVIEWS, "test": 0.1}, "test: a share of 0.1 of the train list takes no row"),
        ({"train": REVIEWS[:1], "test": 0.9}, "test: a share of 0.9 of the train list takes no row"),
        (
            {"train": REVIEWS, "validation": 0.5, "test": 0.4},
            "validation: a share of 0.5 of the train list takes no row",
        ),
    ],
)
def test_shares_that_are_none(sources: dict[str, Any], said: str) -> None:
    assert error(load_splits, sources, Review, {}, seed=1).startswith(said)


# ---- streams


def test_streams_of_text_bytes_and_pipes(tmp_path: Path) -> None:
    data = b'{"text": "caf\xc3\xa9"}\n'
    wanted = [{"text": "café"}]
    assert list(iter_rows(io.BytesIO(data), "jsonl")) == wanted
    assert list(iter_rows(io.StringIO(data.decode()), "jsonl")) == wanted
    # The encoding is ours to judge, whatever the locale made of standard input.
    assert list(iter_rows(io.TextIOWrapper(io.BytesIO(data), "latin-1"), "jsonl")) == wanted
    assert list(iter_rows(io.BytesIO(gzip.compress(data)), "jsonl.gz")) == wanted
    parquet = put_rows(tmp_path / "a.parquet", REVIEWS).read_bytes()
    end, start = os.pipe()
    threading.Thread(daemon=True, target=lambda: (os.write(start, parquet), os.close(start))).start()
    with os.fdopen(end, "rb") as pipe:
        assert list(iter_rows(pipe, "parquet")) == REVIEWS


def test_a_stream_wants_a_format_and_has_a_name() -> None:
    assert error(iter_rows, io.BytesIO(b"x")).startswith("the input: say `format:`, one of csv")
    assert error(iter_rows, io.BytesIO(b""), "csv") == "the input has no rows"
    stream = io.BytesIO(b"3\n")
    stream.name = "<stdin>"  # type: ignore[misc]
    assert error(iter_rows, stream, "jsonl").startswith("stdin: 1 row cannot be read\n  line 1")
    assert error(iter_rows, stream, "cv").startswith("stdin: unknown format 'cv'; did you mean 'csv'?")


@pytest.mark.parametrize("kind", ["jsonl", "csv", "txt", "parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, kind: str) -> None:
    path, rows = tmp_path / f"a.{kind}", 100_000 if kind == "jsonl" else 20_000
    text = "some words of a row " * (5 if kind == "jsonl" else 30)
    if kind == "parquet":
        pq.write_table(pa.table({"text": [text] * rows}), path, row_group_size=5000)
    else:
        line = {"jsonl": json.dumps({"text": text}), "csv": text, "txt": text}[kind]
        put(path, ("text\n" if kind == "csv" else "") + f"{line}\n" * rows)
    next(iter_rows(path))  # imports, once
    tracemalloc.start()
    try:
        count = sum(1 for _ in iter_rows(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == rows
    assert peak < 2_000_000  # bytes; the rows themselves are over ten million


# ---- writing


def write(target: Any, rows: list[dict[str, Any]], *args: Any, **named: Any) -> None:
    with open_writer(target, *args, **named) as writer:
        for row in rows:
            writer.write(row)


def test_what_is_written(tmp_path: Path) -> None:
    rows = [
        {"text": 'é "x", y', "scores": {"a": 0.5}, "n": None, "ok": True, "at": (1, 2), "f": np.float32(0.5)},
        {"text": "line\nend", "scores": {}, "n": float("nan"), "ok": False, "at": np.array([3]), "f": 2.0},
    ]
    write(tmp_path / "a.jsonl", rows)
    assert (tmp_path / "a.jsonl").read_text("utf-8") == (
        '{"text": "é \\"x\\", y", "scores": {"a": 0.5}, "n": null, "ok": true, "at": [1, 2], "f": 0.5}\n'
        '{"text": "line\\nend", "scores": {}, "n": null, "ok": false, "at": [3], "f": 2.0}\n'
    )
    write(tmp_path / "a.csv", rows)
    assert (tmp_path / "a.csv").read_text("utf-8") == (
        'text,scores,n,ok,at,f\n"é ""x"", y","{""a"": 0.5}",,true,"[1, 2]",0.5\n"line\nend",{},,false,[3],2.0\n'
    )
    out = io.StringIO()
    write(out, [{"b": "\t", "a": "x"}, {"a": "only"}], "tsv", columns=["a", "b"])
    assert out.getvalue() == 'a\tb\nx\t"\t"\nonly\t\n'


def test_no_rows_are_written_too(tmp_path: Path) -> None:
    for kind in ("jsonl", "csv", "parquet"):
        write(tmp_path / f"a.{kind}", [])
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "a.csv").read_bytes() == b""
    assert error(read_table, tmp_path / "a.parquet").endswith("a.parquet has no rows")
    write(tmp_path / "b.csv", [], columns=["a", "b"])
    assert (tmp_path / "b.csv").read_text() == "a,b\n"


def test_parquet_finds_types_over_all_rows(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"a": None, "b": 1} for _ in range(9000)]
    rows += [{"a": ["x"], "b": 0.5, "late": "y"}]
    write(tmp_path / "a.parquet", rows)
    found = list(iter_rows(tmp_path / "a.parquet"))
    assert found == [{"late": None, **row} for row in rows]
    message = error(write, tmp_path / "a.parquet", [{"a": 1}, {"a": "x"}])
    assert "a column holds values that Parquet cannot hold in one column" in message
    assert "write jsonl" in error(write, tmp_path / "a.parquet", [{"a": 2**80}])
    assert list(iter_rows(tmp_path / "a.parquet")) == found  # what stood there still does


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("a.csv", {"a": "x", "new": 1}, "a.csv: row 2 has the column 'new', which the first row has not; write jsonl"),
        ("a.csv", {"a": "\ud800"}, "a.csv: row 2 holds half a character (a lone surrogate), which only jsonl can"),
        ("a.parquet", {"a": "\ud800"}, "row 2 holds half a character"),
        ("a.jsonl", {"a": b"x"}, "a.jsonl: row 2 is b'x' (bytes); turn it into text or a number first"),
    ],
)
def test_rows_that_a_format_cannot_hold(tmp_path: Path, name: str, row: dict[str, Any], said: str) -> None:
    assert said in error(write, tmp_path / name, [{"a": "first"}, row])
    assert list(tmp_path.iterdir()) == []


def test_json_lines_escape_half_a_character(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"a": "é\ud800"}])
    assert list(iter_rows(tmp_path / "a.jsonl")) == [{"a": "é\ud800"}]


@pytest.mark.parametrize("kind", ["jsonl", "csv.gz", "parquet"])
def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"a.{kind}"
    put(path, b"old") if kind != "csv.gz" else path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), open_writer(path) as writer:
        writer.write({"a": "x" * 100_000})
        assert path.read_bytes() == b"old"
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"old"
    order: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("sync"), sync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (order.append("rename"), replace(a, b))[1])
    write(path, [{"a": "new"}])
    assert order[:2] == ["sync", "rename"]
    assert list(iter_rows(path)) == [{"a": "new"}]


def test_the_body_s_own_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="mine"), open_writer(tmp_path / "a.jsonl"):
        raise OSError("mine")
    with pytest.raises(ValueError, match="mine"), open_writer(io.BytesIO(), "csv"):
        raise ValueError("mine")


def test_links_and_devices_are_not_replaced(tmp_path: Path) -> None:
    put(tmp_path / "real.jsonl", "old")
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    write(tmp_path / "link.jsonl", [{"a": 1}])
    assert (tmp_path / "link.jsonl").is_symlink()
    assert (tmp_path / "real.jsonl").read_text() == '{"a": 1}\n'
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(daemon=True, target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write(pipe, [{"a": 1}], "jsonl")
    reader.join(10)
    assert got == [b'{"a": 1}\n']
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("name", "format", "said"),
    [
        ("no/a.jsonl", None, "cannot be written: there is no folder"),
        (".", "jsonl", "cannot be written: it is a folder"),
        ("a.txt", None, "predictions cannot be written as txt; there are: jsonl, csv, tsv, parquet"),
        ("a.json", None, "cannot be written as json; did you mean 'jsonl'?"),
        ("a.xyz", None, "ends in '.xyz'"),
    ],
)
def test_places_that_cannot_be_written(tmp_path: Path, name: str, format: str | None, said: str) -> None:
    assert said in error(write, tmp_path / name, [], format)


def test_a_stream_to_write_wants_a_format_and_stays_open() -> None:
    assert error(write, io.BytesIO(), []).startswith("the input: say the format, one of jsonl, csv, tsv, parquet")
    raw = io.BytesIO()
    text = io.TextIOWrapper(raw, "ascii")  # as standard output in a bare locale
    text.write("before\n")
    write(text, [{"a": "é"}], "jsonl")
    assert raw.getvalue().decode() == 'before\n{"a": "é"}\n'
    write(text, [{"a": "é"}], "jsonl.gz")
    for kind in ("csv", "parquet", "jsonl"):
        out = io.BytesIO()
        write(out, [{"a": "é"}], kind)
        assert not out.closed


def test_a_full_disk_is_told_and_a_closed_pipe_is_not() -> None:
    class Full(io.RawIOBase):
        code = 28

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            raise OSError(self.code, os.strerror(self.code))

    assert error(write, Full(), [{"a": 1}], "jsonl") == "the input: row 1 cannot be written: No space left on device"
    Full.code = 32
    with pytest.raises(BrokenPipeError):
        write(Full(), [{"a": 1}], "csv")
