"""Every mistake at every door: `pipeline`, `map`, a batcher, `load`, several adapters, `compat`, and `nlpipe predict`.

Each ends in one message that names what is wrong and what there is instead. tests/test_bad_input.py has what tasks make
of odd inputs, tests/test_cli.py how the command line ends.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch
import transformers

import nlpipe
from nlpipe import NlpipeError, artifact, cli, compat
from nlpipe.locating import Location
from tests.support import tiny, untrained

Door = Callable[..., Any]


class Doors(NamedTuple):
    """A model of ours and anyone's by every door that takes inputs; each is given one value."""

    inputs: dict[str, Door]
    root: Path


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def headed(kind: str, names: tuple[str, ...], base: Path, target: Path) -> Path:
    """The tiny backbone with a head drawn at random, as anyone's folder."""
    config = transformers.AutoConfig.from_pretrained(
        base, id2label=dict(enumerate(names)), label2id={name: at for at, name in enumerate(names)}
    )
    torch.manual_seed(0)
    getattr(transformers, f"AutoModelFor{kind}").from_config(config).save_pretrained(copied(base, target))
    return target


def ours(base: Path, target: Path) -> Path:
    """A folder that nlpipe wrote."""
    pipe: Any = untrained("classification", base, ("no", "so", "yes"))
    artifact.save(target, pipe.card, pipe.runner.model, pipe.tokenizers, base=Location(str(base), base))
    return target


def adapter(base: Path, root: Path) -> Path:
    """A folder with an adapter beside its base."""
    rows = [{"text": "ba north", "label": "north"}, {"text": "be south", "label": "south"}] * 4
    report = nlpipe.run(
        nlpipe.Recipe(
            task="classification",  # type: ignore[arg-type]
            model={"backbone": str(base)},  # type: ignore[arg-type]
            adapter={"method": "lora"},  # type: ignore[arg-type]
            data={"train": rows},  # type: ignore[arg-type]
            train={"steps": 1, "batch_size": 4},  # type: ignore[arg-type]
            output={"dir": str(root / "run"), "weights": "adapter"},  # type: ignore[arg-type]
        )
    )
    assert report.model is not None
    return report.model


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("doors")


@pytest.fixture(scope="module")
def doors(root: Path) -> Doors:
    base = tiny("bert", root)
    labels = headed("SequenceClassification", ("no", "so", "yes"), base, root / "labels")
    own = nlpipe.load(ours(base, root / "ours"))
    both = nlpipe.load({"one": adapter(base, root)})
    theirs = nlpipe.pipeline("classification", model=labels)
    old = compat.pipeline("text-classification", model=str(labels))

    async def awaited(value: Any) -> Any:
        async with own.batcher(max_wait_ms=0) as ask:
            return await ask(value)

    return Doors(
        {
            "load": own,
            "pipeline": theirs,
            "a list": lambda value: own([value]),
            "map": lambda value: list(own.map(iter([value]))),
            "batcher": lambda value: asyncio.run(awaited(value)),
            "adapters": lambda value: both(value, adapter="one"),
            "rows of adapters": lambda value: both(["ba", value], adapter=["one", "one"]),
            "compat": old,
            "compat, a list": lambda value: old([value]),
        },
        root,
    )


VALUES = {
    "None": (None, "not NoneType"),
    "a number": (3, "not int"),
    "bytes": (b"ba", "not bytes"),
    "a nested list": ([["ba"]], "not (a )?list|one input at a time"),
    "a dict with a wrong key": ({"txt": "ba"}, "has no 'txt'; did you mean 'text'?|'text': …, .*without 'txt'"),
    "a dict with a number": ({"text": 3}, "text +(must be text, is 3|is a text, not int)"),
    "an empty dict": ({}, "text +is missing|has no 'text'"),
}
NAMES = ("load", "pipeline", "a list", "map", "batcher", "adapters", "rows of adapters", "compat", "compat, a list")


@pytest.mark.parametrize("door", NAMES)
@pytest.mark.parametrize("name", VALUES)
def test_values_that_are_no_inputs(doors: Doors, name: str, door: str) -> None:
    value, said = VALUES[name]
    with pytest.raises(NlpipeError, match=f"(?s){said}") as caught:
        doors.inputs[door](value)
    assert len(str(caught.value)) < 300
    if door in ("a list", "map", "compat, a list"):
        assert "input 0: " in str(caught.value)
    if door == "rows of adapters":
        assert "input 1: " in str(caught.value)


@pytest.mark.parametrize("door", NAMES)
def test_nothing_to_read_is_an_answer_about_nothing(doors: Doors, door: str) -> None:
    """An empty text is one: its `seen` says so. An empty list is no text, and has no answers."""
    assert doors.inputs[door]("")
    pipe: Any = doors.inputs["load"]
    assert pipe("").seen == (0, 0)
    assert pipe([]) == [] == list(pipe.map([])) == list(pipe.map(iter(())))


SINGLE = [None, 3, "a text", b"ba", {"text": "ba"}]


@pytest.mark.parametrize("value", SINGLE, ids=str)
def test_what_cannot_be_gone_through(doors: Doors, value: Any) -> None:
    """A text would be answered letter by letter, a mapping key by key."""
    pipe: Any = doors.inputs["load"]
    vectors = nlpipe.pipeline("retrieval", model=doors.root / "bert")
    one = "bert"
    for call, said in (
        (lambda: pipe.map(value), r"inputs of classification: a list .* for one say pipe\(one\)"),
        (lambda: vectors.index(value), r"items of retrieval: a list .* for one say index\(\[one\]\)"),
        (lambda: pipe.frame(value), "frame takes a DataFrame, not"),
    ):
        with pytest.raises(NlpipeError, match=said):
            call()
    if not isinstance(value, str):
        with pytest.raises(NlpipeError, match=r"texts: a list .* for one say embed\(text\)"):
            vectors.embed(value)
        with pytest.raises(NlpipeError, match="text 1 is a text, not"):
            vectors.embed([one, value])
    with pytest.raises(NlpipeError, match="is a mapping with text_a and text_b, not str"):
        nlpipe.pipeline("similarity", model=doors.root / "bert")("one text")


def test_frames(doors: Doors) -> None:
    pipe: Any = doors.inputs["load"]
    for frame, said in (
        ({"txt": ["a"]}, "the DataFrame has no column 'text'; did you mean 'txt'"),
        ({"text": ["a", None]}, "input 1: .*text +is empty"),
        ({"text": ["a", 5]}, "input 1: .*must be text, is 5"),
    ):
        with pytest.raises(NlpipeError, match=f"(?s){said}"):
            pipe.frame(pd.DataFrame(frame))


def test_options_that_there_are_not(doors: Doors) -> None:
    """Of making a pipeline, of a call, of a batcher: the nearest is named."""
    own, root, pipe = doors.root / "ours", doors.root, doors.inputs["load"]
    assert isinstance(pipe, nlpipe.Pipeline)
    calls: list[tuple[Door, dict[str, Any], str]] = [
        (nlpipe.load, {"path": own, "devce": "cpu"}, "load has no option 'devce'; did you mean 'device'"),
        (nlpipe.load, {"path": own, "long": "cut"}, "unknown long 'cut'; there are: window, truncate, error"),
        (nlpipe.load, {"path": own, "threads": 0}, "threads: a whole number from 1, not 0"),
        (nlpipe.load, {"path": own, "threads": "two"}, "threads: a whole number from 1, not 'two'"),
        (nlpipe.load, {"path": own, "backend": "onxx"}, "unknown backend 'onxx'; did you mean 'onnx'"),
        (nlpipe.load, {"path": own, "dtype": "float17"}, "unknown dtype 'float17'"),
        (nlpipe.load, {"path": own, "device": "cuda:9"}, "not on this machine"),
        (nlpipe.load, {"path": None}, "a model folder is named by a text or a path, not by NoneType"),
        (nlpipe.load, {"path": [own]}, "not by list"),
        (nlpipe.load, {"path": ""}, "this one is empty"),
        (nlpipe.load, {"path": {}}, "no adapter to load"),
        (nlpipe.load, {"path": {"one": None}}, "the folder of 'one' is named by a text or a path, not by NoneType"),
        (nlpipe.load, {"path": {"one": own}}, "holds merged weights, not an adapter"),
        (pipe, {"inputs": "a", "wndows": "max"}, "unknown option 'wndows' .*did you mean 'windows'"),
        (pipe.map, {"inputs": ["a"], "errors": "ignore"}, "unknown errors 'ignore'; there are: raise, skip, return"),
        (pipe.batcher, {"max_wait": 3}, "batcher has no option 'max_wait'; did you mean 'max_wait_ms'"),
        (pipe.batcher, {"max_rows": 0}, "max_rows 1 or more"),
    ]
    labels = {"task": "classification", "model": root / "labels"}
    for further, said in (
        ({"modle": "x"}, "pipeline has no option 'modle'; did you mean 'model'"),
        ({"model": None}, "model is named by a text or a path, not by NoneType"),
        ({"backend": "onxx"}, "did you mean 'onnx'"),
        ({"backend": "onnx"}, r"nlpipe export .* --task classification --to onnx"),
        ({"labels": "abc"}, "labels: a list of names, not one text"),
        ({"objective": "SequenceLabels"}, "did you mean 'SequenceLabel'"),
        ({"options": {"thresholdd": 0.5}}, "classification has no option 'thresholdd'; did you mean 'threshold'"),
        ({"options": {"threshold": 7}}, "option threshold: must be less than 1"),
        ({"options": "windows"}, "options: a mapping"),
        ({"generation": {"num_beam": 3}}, "unknown option 'num_beam'; did you mean 'num_beams'"),
        ({"task": "clasification"}, "unknown task 'clasification'; did you mean 'classification'"),
        ({"task": "question-answering"}, "unknown task 'question-answering'; did you mean 'qa'"),
        ({"task": 3}, "a task is named by a text, such as '.*', not by int"),
    ):
        calls.append((nlpipe.pipeline, labels | further, said))
    for call, options, said in calls:
        given = dict(options)
        first = [given.pop(name) for name in ("path", "inputs") if name in given]
        with pytest.raises(NlpipeError, match=said):
            call(*first, **given)
    both = nlpipe.load({"one": root / "run" / "model"})
    for options, said in (
        ({}, "say which adapter is to answer, adapter='…'; there is: one"),
        ({"adapter": "on"}, "no adapter is called 'on'; did you mean 'one'"),
        ({"adapter": "one", "wndows": "max"}, "did you mean 'windows'"),
    ):
        with pytest.raises(NlpipeError, match=said):
            both("a", **options)


def test_a_task_whose_package_is_not_installed(doors: Doors, tmp_path: Path) -> None:
    folder = copied(doors.root / "ours", tmp_path / "keys")
    card = json.loads((folder / "nlpipe.json").read_text())
    card |= {"task": "keyphrases", "plugin": {"name": "nlpipe-keyphrases", "version": "1.2"}}
    (folder / "nlpipe.json").write_text(json.dumps(card))
    said = "the task 'keyphrases', which the package nlpipe-keyphrases brings.*pip install 'nlpipe-keyphrases==1.2'"
    for call in (nlpipe.load, lambda f: nlpipe.pipeline(model=f), lambda f: nlpipe.load({"one": f})):
        with pytest.raises(nlpipe.PluginError, match=said):
            call(folder)
    without = nlpipe.plugins.Plugins.discover(blocked=["classification"])  # type: ignore[attr-defined]
    with pytest.raises(nlpipe.PluginError, match=r"plugin 'classification' .* is left out"):
        nlpipe.load(doors.root / "run" / "model", plugins=without)


def spoilt(name: str, root: Path, target: Path) -> Path:
    """A model's folder with one thing wrong: anyone's, or ours (`our …`)."""
    if name == "our lone adapter":
        folder = copied(root / "run" / "model", target)
        (folder / "adapter" / "adapter_model.safetensors").unlink()
        return folder
    folder = copied(root / ("ours" if name.startswith("our ") else "labels"), target)
    weights, config = folder / "model.safetensors", folder / "config.json"
    if name.endswith("torn"):
        weights.write_bytes(weights.read_bytes()[:-100])
    elif name.endswith("empty"):
        weights.write_bytes(b"")
    elif name.endswith("pickle"):
        weights.rename(folder / "pytorch_model.bin")
    elif name == "code":
        own = {"model_type": "x", "auto_map": {"AutoConfig": "conf.C", "AutoModel": "who/wrote--model.M"}}
        config.write_text(json.dumps(json.loads(config.read_text()) | own))
    elif name == "code of the tokenizer":
        file = folder / "tokenizer_config.json"
        own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
        file.write_text(json.dumps(json.loads(file.read_text()) | own))
    for script in ("conf", "model", "own"):
        (folder / f"{script}.py").write_text("raise SystemExit('it ran')")
    return folder


SPOILT = {
    "torn": r"model\.safetensors is damaged or cut off .*: copy or download it again",
    "empty": r"model\.safetensors is damaged or cut off",
    "pickle": r"pytorch_model\.bin, a pickle, .*python -c .*t\.BertForSequenceClassification, t\.AutoTokenizer",
    "code": r"Python code of its own \(conf\.py, model\.py\).*you would trust whoever wrote it with .*your files",
    "code of the tokenizer": r"the tokenizer in .* is Python code of its own \(own\.py\)",
    "our torn": r"model\.safetensors is damaged or cut off",
    "our pickle": r"pytorch_model\.bin, a pickle",
    "our lone adapter": r"incomplete: adapter_model\.safetensors is missing",
}


class Ended(NamedTuple):
    code: int
    err: str


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Ended]:
    """`nlpipe predict MODEL …` on one line of standard input."""

    def call(*args: str | Path, line: str = "ba\n") -> Ended:
        monkeypatch.setattr(sys, "argv", ["nlpipe", "predict", *map(str, args)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line.encode())))
        capfdbinary.readouterr()
        code: Any = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        return Ended(int(code or 0), capfdbinary.readouterr().err.decode())

    return call


def refused(ended: Ended, said: str) -> None:
    assert ended.code == 2, ended.err
    assert "Traceback" not in ended.err
    assert ended.err.count("rror: ") == 1
    assert re.search(said, ended.err, re.DOTALL), ended.err


@pytest.mark.parametrize("name", SPOILT)
def test_folders_that_are_spoilt(doors: Doors, predict: Callable[..., Ended], name: str, tmp_path: Path) -> None:
    said, folder = f"(?s){SPOILT[name]}", spoilt(name, doors.root, tmp_path / "model")
    calls: list[Door] = [
        lambda: nlpipe.pipeline("classification", model=folder),
        lambda: nlpipe.pipeline(model=folder),
        lambda: compat.pipeline("text-classification", model=str(folder)),
    ]
    mine = name.startswith("our ")
    calls += [lambda: nlpipe.load(folder)] if mine else []
    calls += [lambda: nlpipe.load({"one": folder})] if name == "our lone adapter" else []
    for call in calls:
        with pytest.raises(nlpipe.ArtifactError, match=said):
            call()
    refused(predict(folder, *(() if mine else ("--task", "classification")), "--input", "-"), said)


def test_code_beside_an_architecture_that_is_known_is_not_run(
    doors: Doors, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = spoilt("code", doors.root, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "bert"}
    (folder / "config.json").write_text(json.dumps(config))
    assert nlpipe.pipeline("classification", model=folder)("ba").label in ("no", "so", "yes")
    assert "names Python code of its own, conf.py, model.py: transformers' bert is run instead" in caplog.text


def test_heads_that_do_not_fit(doors: Doors, predict: Callable[..., Ended]) -> None:
    """What fits is named."""
    labels = doors.root / "labels"
    with pytest.raises(nlpipe.ArtifactError, match=r"has no head for ner\..*It fits: classification"):
        nlpipe.pipeline("ner", model=labels)
    with pytest.raises(nlpipe.ArtifactError, match="which has no head for ner; it fits text-classification"):
        compat.pipeline("ner", model=str(labels))
    with pytest.raises(nlpipe.ArtifactError, match="was trained for classification, not for ner"):
        nlpipe.pipeline("ner", model=doors.root / "ours")
    refused(predict(labels, "--task", "ner", "--input", "-"), r"has no head for ner\..*It fits: classification")
    refused(predict(doors.root / "ours", "--task", "ner", "--input", "-"), "was trained for classification")


COMMANDS = [
    (("--option", "wndows=max"), "did you mean 'windows'"),
    (("--option", "windows"), "say KEY=VALUE"),
    (("--task", "clasification"), "did you mean 'classification'"),
    (("--task", "keyphrases"), "unknown task 'keyphrases'; installed tasks: classification"),
    (("--task", "text-classification"), "did you mean 'classification'"),
    (("--long", "cut"), "it is window, truncate or error"),
    (("--backend", "onxx"), "did you mean 'onnx'"),
    (("--device", "gpu"), "device 'gpu' is not on this machine; take 'auto' or 'cpu'"),
    (("--dtype", "bf16"), "unknown dtype 'bf16'; there are: auto, float32, bfloat16, float16"),
    (("--threads", "0"), "Invalid value for '--threads'"),
    (("--engine", "rai"), "did you mean 'ray'"),
    (("--columns", "txt=a"), "did you mean 'text'"),
    (("--input-format", "docx"), "unknown format 'docx'"),
    (("--output-format", "docx"), "unknown format 'docx'"),
    (("--inputs", "x"), "No such option: --inputs.*--input"),
    (("--resume",), "a stream cannot be written on"),
]


@pytest.mark.parametrize(("further", "said"), COMMANDS, ids=str)
def test_on_the_command_line(doors: Doors, predict: Callable[..., Ended], further: tuple[str, ...], said: str) -> None:
    refused(predict(doors.root / "ours", "--input", "-", *further), said)


LINES = {
    "null": "must be an object, is empty",
    "3": "must be an object, is 3",
    '{"text": 3}': "text +must be text, is 3",
    '{"txt": "a"}': "has no column 'text'; did you mean 'txt'",
    '{"text": ["a"]}': "text +must be text",
    "[]": "must be an object",
    "{": "is no JSON",
    "": "has no rows|is empty",
}


@pytest.mark.parametrize("line", LINES)
def test_rows_on_the_command_line(doors: Doors, predict: Callable[..., Ended], line: str) -> None:
    ended = predict(doors.root / "ours", "--input", "-", "--input-format", "jsonl", line=line and line + "\n")
    refused(ended, LINES[line])


def test_an_output_that_was_interrupted(doors: Doors, predict: Callable[..., Ended], tmp_path: Path) -> None:
    """It is not written over; the message says how to go on, and how to begin anew."""
    source, target, model = tmp_path / "in.txt", tmp_path / "out.jsonl", doors.root / "ours"
    source.write_text("ba\nbe\nbi\n")
    run = (model, "--input", source, "--output", target)
    assert predict(*run).code == 0
    whole = target.read_bytes()
    target.rename(tmp_path / "out.jsonl.partial")
    (tmp_path / "out.jsonl.partial.json").write_text("{")
    refused(predict(*run), r"out\.jsonl\.partial\.json is damaged.*remove it to begin anew")
    refused(predict(*run, "--resume"), "is damaged")
    (tmp_path / "out.jsonl.partial.json").unlink()
    assert predict(*run).code == 0
    assert target.read_bytes() == whole
