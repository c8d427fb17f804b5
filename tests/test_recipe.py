"""Recipes: every rule of reading, every message, and that what is written is read back equal."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar, Literal

import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from nlpipe import recipe as recipes
from nlpipe import recipe_files, recipe_yaml
from nlpipe.errors import NlpipeError, RecipeError
from nlpipe.recipe import Recipe, build, check, dump, read, schema, shipped, template
from nlpipe.task import Family, Record, Task, TaskOptions


class Nested(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    depth: int = 1


class Options(TaskOptions):
    scheme: Literal["bio", "bioes"] = Field("bio", description="how tags are written")
    threshold: float = Field(0.5, gt=0, lt=1, description="from which a label holds")
    note: str | None = Field("as found", description="any remark")
    inner: Nested = Nested()
    prompt: str = Field("Text: {text}\nLabel:", description="what a model\nis told")

    @pydantic.model_validator(mode="after")
    def _fit(self) -> Options:
        if self.note == "bad" and self.scheme == "bio":
            raise ValueError("a bad note needs another scheme")
        return self


class Input(Record):
    text: str


class Example(Input):
    tags: tuple[str, ...] = ()
    more: str | None = None


class TokenLabel: ...


class CausalText: ...


class Ner(Task):
    name: ClassVar[str] = "ner"
    summary: ClassVar[str] = "names in a text"
    Input, Example, Options = Input, Example, Options
    metrics = ()

    @classmethod
    def row(cls):
        return {Family.ENCODER: (TokenLabel,), Family.DECODER: (TokenLabel, CausalText)}

    @classmethod
    def samples(cls):
        return [Example(text="Ada\nLovelace # wrote", tags=("B", "I", "O"))]


class Needy(Ner):
    """A task with a setting that has no default, and a label list of its own."""

    name: ClassVar[str] = "needy"

    class Options(TaskOptions):
        corpus: str = Field(description="which corpus", examples=["a: b"])
        limits: tuple[int, ...] = (1, 2)

    @classmethod
    def labels_in(cls, examples, options):
        return ("a", "b")


class Bare(Ner):
    """A task whose settings say little of themselves."""

    name: ClassVar[str] = "bare"

    class Options(TaskOptions):
        where: str = Field("here", description="where it lies")
        plain: str = "x"
        pair: tuple[str, ...] = Field(("a", "b"), min_length=2)
        required: str = Field(description="what it is for")
        bare: str


TASKS: dict[str, Any] = {"ner": Ner, "needy": Needy}
GOOD = "task: ner\nmodel: {backbone: x}\ndata: {train: t.jsonl, test: u.jsonl}\n"


@pytest.fixture
def run(tmp_path):
    """Write files (the recipe itself is `ner.yaml`) and read the recipe."""

    def read_it(text: str | bytes, *overrides: str, environ: dict[str, str] | None = None, **files: str) -> Recipe:
        for name, content in files.items():
            (tmp_path / f"{name}.yaml").write_text(content, encoding="utf-8")
        file = tmp_path / "ner.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read(file, TASKS, overrides, environ or {})

    return read_it


def rows(error: pytest.ExceptionInfo[RecipeError]) -> list[tuple[str, str, str]]:
    return [(p.where, p.key, p.message) for p in error.value.problems]


# What a good recipe becomes


def test_defaults(run):
    recipe = run(GOOD)
    assert (recipe.version, recipe.task.name, recipe.task.options, recipe.task.labels) == (1, "ner", {}, None)
    assert (recipe.train, recipe.adapter, recipe.split) == (None, None, "test")
    assert (recipe.output.dir, recipe.output.weights) == ("runs/ner", "merged")


DEFAULTS: dict[str, Any] = {
    "version": 1,
    "task": {"name": "ner", "labels": None, "options": {}},
    "model": {
        "backbone": "x", "new": None, "tokenizer": None, "revision": "main",
        "objective": "auto", "max_length": "auto", "long": "window", "overlap": 0,
        "attention": "auto", "quantize": None, "dtype": "auto",
    },
    "adapter": {"method": "lora", "r": None, "alpha": None, "dropout": None, "targets": "auto", "fields": {}},
    "data": {"train": "t", "validation": None, "test": None, "columns": {}, "check": "warn"},
    "train": {
        "epochs": 3.0, "steps": None, "batch_size": 32, "tokens_per_batch": None, "micro_batch": "auto",
        "optimizer": "adamw", "learning_rate": None, "warmup": 0.06, "schedule": "linear", "weight_decay": 0.01,
        "clip": 1.0, "seed": 13, "precision": "auto", "gradient_checkpointing": False, "compile": False,
        "evaluate_every": None, "checkpoint_every": None, "keep": 2, "best": None, "early_stopping": None,
        "freeze": None, "class_weights": None, "label_smoothing": 0.0, "focal": None,
    },
    "evaluate": {"split": None, "bootstrap": 1000, "metrics": (), "slices": None},
    "run": {"device": "auto", "threads": "auto", "processes": 1, "trackers": ()},
    "output": {"dir": "runs/ner", "weights": "merged"},
    "sweep": None, "seeds": None,
}  # fmt: skip


def test_every_default():
    recipe = Recipe(task="ner", model={"backbone": "x"}, data={"train": "t"}, train={}, adapter={})
    assert recipe.model_dump(exclude={"generation"}) == DEFAULTS


@pytest.mark.parametrize(
    "text",
    [
        "data: {train: t, validation: 0.1, test: 0.2}\ntrain: {}",
        "data: {test: u}\ntrain: null",
        "data: {test: u}\ntrain: null\nadapter: {}\noutput: {weights: adapter}",
        "data: {train: t}\ntrain: {warmup: 100}",
        "data: {train: t}\ntrain: {warmup: 0.1}",
        "data: {train: t}\ntrain: {warmup: 0, weight_decay: 0, seed: 0, label_smoothing: 0, micro_batch: 1, clip: 0.1}",
        "data: {train: t}\ntrain: {warmup: 1, class_weights: balanced, learning_rate: 1e-9}",
        "data: {test: u}\nevaluate: {bootstrap: 0, split: test}\nrun: {device: 'cuda:1', threads: 1}",
        "data: {train: {hub: a/b, config: c, split: s, revision: r}}\ntrain: {}",
        "data: {train: t}\ntrain: {}\nadapter: {targets: 'layers\\.(0|1)\\..*', r: 1, alpha: 0.5, dropout: 0}",
    ],
)
def test_what_is_allowed(run, text):
    run("task: {name: ner, labels: null}\nmodel: {backbone: x, max_length: 8, overlap: 7}\n" + text)


def test_the_task_takes_what_stands_beside_its_name(run):
    text = GOOD.replace("task: ner", "task: {name: ner, scheme: bioes, labels: [b, a]}")
    recipe = run(text)
    assert recipe.task.options == {"scheme": "bioes"}
    assert recipe.task.labels == ("b", "a")
    assert check(recipe, TASKS) == Options(scheme="bioes")
    assert build({"task": {"name": "ner", "scheme": "bioes"}, **BARE}, TASKS).task.options == {"scheme": "bioes"}


BARE: dict[str, Any] = {"model": {"backbone": "x"}, "data": {"test": "u"}}


@pytest.mark.parametrize(
    ("train", "adapter", "rate"),
    [
        ({}, None, 3e-5),
        ({}, {}, 5e-4),
        ({}, {"method": "ia3"}, 3e-3),
        ({"learning_rate": 1e-3}, {}, 1e-3),
        (None, None, 3e-5),
    ],
)
def test_the_learning_rate_follows_the_adapter(train, adapter, rate):
    recipe = Recipe(task="ner", model={"backbone": "x"}, data={"train": "t", "test": "u"}, train=train, adapter=adapter)
    assert recipe.learning_rate == rate


@pytest.mark.parametrize(
    ("data", "evaluate", "split"),
    [
        ({"test": "u", "validation": "v"}, {}, "test"),
        ({"validation": "v"}, {}, "validation"),
        ({"test": "u", "validation": "v"}, {"split": "validation"}, "validation"),
        ({"train": "t"}, {"split": "train"}, "train"),
    ],
)
def test_the_split_that_is_scored(data, evaluate, split):
    assert Recipe(task="ner", model={"backbone": "x"}, data=data, evaluate=evaluate).split == split
    assert Recipe(task="ner", model={"backbone": "x"}, data={"train": "t"}, train={}).split is None


def test_tokens_per_batch_takes_the_place_of_batch_size(run):
    train = run(GOOD + "train: {tokens_per_batch: 4096}\n").train
    assert (train.batch_size, train.tokens_per_batch) == (None, 4096)


def test_null_means_the_default_where_a_field_cannot_be_null(run):
    recipe = run(GOOD + "train: {epochs: null, clip: null, seed: 5}\nadapter: null\nevaluate: null\n")
    assert (recipe.train.epochs, recipe.train.clip, recipe.evaluate.bootstrap) == (3, None, 1000)
    options = check(run(GOOD.replace("task: ner", "task: {name: ner, scheme: null, note: null}")), TASKS)
    assert (options.scheme, options.note) == ("bio", None)


def test_frozen():
    recipe = Recipe(task="ner", **BARE)
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        recipe.version = 1
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        recipe.model.backbone = "y"


def test_a_whole_number_may_be_written_with_an_exponent(run):
    steps = run(GOOD + "train: {steps: 1e3}\n").train.steps
    assert (steps, type(steps)) == (1000, int)


# YAML


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *[("1e-4", 1e-4), ("2E5", 2e5), ("1.5", 1.5), (".5", 0.5), ("-3", -3), ("+3", 3), ("0", 0), ("1.", 1.0)],
        *[("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("true", True), ("False", False)],
        *[("12:30:00", "12:30:00"), ("1:30", "1:30"), ("010", "010"), ("0x1F", "0x1F"), ("1_000", "1_000")],
        *[("2024-01-31", "2024-01-31"), ("2024-01-31T10:00:00Z", "2024-01-31T10:00:00Z"), ("=", "=")],
        *[("null", None), ("~", None), ("'3'", "3"), ('"true"', "true"), ("1.2.3", "1.2.3"), ("e5", "e5")],
        *[("-.inf", -math.inf), ("9" * 30, int("9" * 30)), ("9" * 5000, math.inf), ("|\n  3", "3")],
    ],
)
def test_scalars(written, value):
    got = recipe_yaml.parse(f"a: {written}", "", {}).value["a"]
    assert got == value
    assert type(got) is type(value)


def test_keys_are_text(run):
    recipe = run(GOOD + "train: {class_weights: {1: 2, true: 1, null: 0, 010: 3, '<<': 4, '${X}': 5}}\n")
    assert recipe.train.class_weights == {"1": 2, "true": 1, "null": 0, "010": 3, "<<": 4, "${X}": 5}


def test_aliases_repeat_a_value(run):
    recipe = run("data: {train: &file t.jsonl, test: *file}\ntask: ner\nmodel: {backbone: x}\n")
    assert recipe.data.train == recipe.data.test


def test_twenty_levels_are_read_and_not_one_more():
    for opened, closed in (("[", "]"), ("{a: ", "}")):
        recipe_yaml.parse(f"a: {opened * 19}1{closed * 19}", "", {})
        with pytest.raises(recipe_yaml.UnreadableError, match="too deep"):
            recipe_yaml.parse(f"a: {opened * 20}1{closed * 20}", "", {})
    nested = f"a: &a {'[' * 11}1{']' * 11}\nb: {'[' * 11}*a{']' * 11}"
    with pytest.raises(recipe_yaml.UnreadableError, match="too deep"):
        recipe_yaml.parse(nested, "", {})


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("task: ner\nmodel:\n\tbackbone: x\n", "line 3, column 1", "a tab"),
        ("task: ner\nmodel: backbone: x\n", "line 2, column 16", "needs quotes"),
        ("task: ner\nmodel\ndata: {}\n", "line 3, column 1", "neither `key: value`"),
        ("model:\n  backbone: x\n revision: y\n", "line 3, column 2", "indentation"),
        ("model: {backbone: x\ndata: {}\n", "line 2, column 5", "closing } is missing (begun on line 1)"),
        ("a: 1\nmodel: [x,\n", "line 3, column 1", "a closing ]"),
        ("a: [b, c}\n", "line 1, column 9", "the closing ] is missing"),
        ("a: 'x\nb: 1\n", "line 3, column 1", "a quote is not closed (begun on line 1)"),
        ("a: *x\n", "line 1, column 4", "*x has no anchor"),
        ("a: @x\n", "line 1, column 4", "begins with @ needs quotes"),
        ("a: 1\n---\nb: 1\n", "line 2, column 1", "second document"),
        ('a: "\\q"\n', "line 1, column 6", "unknown escape character"),
        ("a: {e: ${E:-3}}\n", "line 1, column 9", "a variable needs quotes"),
        ("a: 1\nb: \x01\n", "line 2", "control character #x0001"),
        ("a: " + "[" * 60, "line 1, column 24", "too deep: more than 20 levels"),
        ("a: " + "[" * 100_000, "line 1, column 24", "too deep"),
        ("a: &a [*a]\n", "line 1", "inside what it repeats"),
        ("a: &a {b: &b [*a, *b]}\n", "line 1", "inside what it repeats"),
        ("a: 1\n" + bomb(9), "line 4", "more than 100 times"),
        ("!!map {a: 1}", "line 1", "has the tag '!!map'"),
    ],
)
def test_what_is_not_yaml(run, text, where, words):
    with pytest.raises(RecipeError) as error:
        run(text)
    assert str(error.value).splitlines()[0].endswith("ner.yaml has 1 problem")
    [(at, key, message)] = rows(error)
    assert (at, key) == (where, "")
    assert words in message
    assert ("begun" in message) == ("begun" in words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty; `nlpipe recipe new TASK`"),
        ("# nothing\n", "is empty"),
        ("- a\n", "must be a mapping (task:, model:, data: …), is a list"),
        ("ner\n", "must be a mapping (task:, model:, data: …), is 'ner'"),
        (b"\na: 1\nb: \xff\n", "cannot be read: line 3 is not UTF-8 text"),
        ("#" + "x" * 1_000_000, "cannot be read: it is larger than 1,000,000 bytes"),
    ],
)
def test_what_is_no_recipe(run, text, words):
    with pytest.raises(RecipeError) as error:
        run(text)
    assert not error.value.problems
    assert "ner.yaml " + words in str(error.value)


def test_how_large_a_recipe_may_be(run, monkeypatch):
    assert recipe_files.MAX_BYTES == 1_000_000
    monkeypatch.setattr(recipe_files, "MAX_BYTES", 500)
    assert run(GOOD + "#" * (500 - len(GOOD))) == run(GOOD)
    with pytest.raises(RecipeError, match="larger than 500 bytes"):
        run(GOOD + "#" * (501 - len(GOOD)))


def test_byte_order_mark_and_windows_lines(run):
    assert run(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()) == run(GOOD)


def test_quantised_weights_need_an_adapter(run):
    with pytest.raises(RecipeError, match=r"model\.quantize +is '4bit', and so few bits cannot be trained; add an `ad"):
        run(GOOD, "model.quantize=4bit")
    assert run(GOOD, "model.quantize=4bit", "adapter={}").model.quantize == "4bit"


@pytest.mark.parametrize("way", ["true", "pissa", "pissa_niter_4", "olora"])
def test_ways_to_begin(run, way):
    assert str(run(GOOD, f"adapter={{init_lora_weights: {way}}}").adapter.fields["init_lora_weights"]).lower() == way


# Problems, one by one: what the YAML says, and the one row that is printed

GOOD_LINES = GOOD.count("\n")
PROBLEMS: list[tuple[str, str, str]] = [
    # unknown settings
    ("adapter:\n  rank: 4", "line 5 adapter.rank", "unknown setting; did you mean 'r'?"),
    ("train: {lr: 1}", "line 4 train.lr", "did you mean 'learning_rate'?"),
    ("train: {epoch: 1}", "line 4 train.epoch", "did you mean 'epochs'?"),
    ("epochs: 3", "line 4 epochs", "did you mean 'train.epochs'?"),
    ("train: {precission: auto}", "line 4 train.precission", "did you mean 'precision'?"),
    ("run: {precision: auto}", "line 4 run.precision", "did you mean 'train.precision'?"),
    ("lora: {}", "line 4 lora", "did you mean 'adapter'?"),
    ("train:\n  adapter: {}", "line 5 train.adapter", "'adapter' is a section of its own, not indented"),
    ("options: {}", "line 4 options", "unknown setting; known here: version, task, model"),
    ("run: {zzz: 1}", "line 4 run.zzz", "unknown setting; known here: device, threads"),
    ("run: {zzz: null}", "line 4 run.zzz", "unknown setting; known here: device, threads"),
    # wrong kinds
    ("train: {seed: three}", "line 4 train.seed", "must be a whole number, is 'three'"),
    ("train: {seed: true}", "line 4 train.seed", "must be a whole number, is true"),
    ("train: {seed: 1.5}", "line 4 train.seed", "must be a whole number, is 1.5"),
    ("train: {seed: '3'}", "line 4 train.seed", "must be a whole number, is '3'"),
    ("train: {epochs: true}", "line 4 train.epochs", "must be a number, is true"),
    ("train: {epochs: '3'}", "line 4 train.epochs", "must be a number, is '3'"),
    ("adapter: {r: true}", "line 4 adapter.r", "must be a whole number, is true"),
    ("train: {epochs: many}", "line 4 train.epochs", "must be a number, is 'many'"),
    ("train: {epochs: 'a  \\n\n b'}", "line 4 train.epochs", "must be a number, is 'a \\n b'"),
    ("train: {epochs: " + "y" * 99 + "}", "line 4 train.epochs", f"is '{'y' * 57}…'"),
    ("train: {epochs: yes}", "line 4 train.epochs", "must be a number, is 'yes'"),
    ("train: {epochs: .inf}", "line 4 train.epochs", "must be a finite number, is inf"),
    ("train: {micro_batch: atuo}", "line 4 train.micro_batch", "or 'auto', is 'atuo'; did you mean 'auto'?"),
    ("train: 3", "line 4 train", "must be a mapping of settings, is 3"),
    ("train: [1]", "line 4 train", "must be a mapping of settings, is a list"),
    ("train: {class_weights: {a: x}}", "line 4 train.class_weights.a", "must be a number, is 'x'"),
    ("train: {class_weights: {a: -1}}", "line 4 train.class_weights.a", "must be at least 0, is -1"),
    ("train: {class_weights: on}", "line 4 train.class_weights", "must be 'balanced' or a mapping, is 'on'"),
    ("adapter: {targets: [q, 1]}", "line 4 adapter.targets[1]", "must be text, is 1; put it in quotes"),
    ("adapter: {targets: 'a('}", "line 4 adapter.targets", "is not a regular expression: missing )"),
    ("run: {threads: -1}", "line 4 run.threads", "must be at least 1, is -1"),
    ("output: {dir: {a: b}}", "line 4 output.dir", "must be text, is a mapping"),
    # out of range, unknown choices
    ("train:\n  epochs: 0", "line 5 train.epochs", "must be greater than 0, is 0"),
    ("train: {warmup: 1.5}", "line 4 train.warmup", "must be a share below 1 or a whole number of steps, is 1.5"),
    ("train: {label_smoothing: 1}", "line 4 train.label_smoothing", "must be less than 1, is 1"),
    (
        "train: {evaluate_every: 0}",
        "line 4 train.evaluate_every",
        "must be a number of steps, or of epochs as '2 epochs'",
    ),
    ("train: {checkpoint_every: 0.5}", "line 4 train.checkpoint_every", "or '0.5 epochs', is 0.5"),
    ("train: {checkpoint_every: 0 epochs}", "line 4 train.checkpoint_every", "or '0.5 epochs', is '0 epochs'"),
    ("train: {checkpoint_every: true}", "line 4 train.checkpoint_every", "must be a number of steps"),
    ("train: {evaluate_every: 2 epochs}", "line 4 train.evaluate_every", "does nothing without data.validation"),
    ("train: {early_stopping: 2}", "line 4 train.early_stopping", "does nothing without data.validation"),
    ("train: {best: f1}", "line 4 train.best", "does nothing without data.validation"),
    ("train: {early_stopping: 0}", "line 4 train.early_stopping", "must be at least 1, is 0"),
    ("train: {early_stopping: {patience: 2, delta: 1}}", "line 4 train.early_stopping.delta", "'min_delta'"),
    ("train: {precision: fp16}", "line 4 train.precision", "float16 is not offered: T5's"),
    ("train: {gradient_checkpointing: 1}", "line 4 train.gradient_checkpointing", "must be true or false, is 1"),
    ("train: {focal: 2, label_smoothing: 0.1}", "line 4 train.focal", "stands beside label_smoothing, which"),
    ("train: {schedule: liner}", "line 4 train.schedule", "or 'inverse_sqrt', is 'liner'; did you mean 'linear'?"),
    (
        "adapter: {method: ia4}",
        "line 4 adapter.method",
        "unknown method 'ia4'; did you mean 'ia3'?",
    ),
    (
        "adapter: {method: whatever}",
        "line 4 adapter.method",
        "unknown method 'whatever'; there are: lora, adalora, ia3",
    ),
    ("adapter: {method: xlora}", "line 4 adapter.method", "xlora is left out: it chooses between adapters"),
    ("adapter: {method: ia3, r: 4}", "line 4 adapter.r", "does nothing for ia3; it has: targets, exclude_modules"),
    ("adapter: {method: prompt_tuning, targets: [q]}", "line 4 adapter.targets", "does nothing for prompt_tuning"),
    ("adapter: {use_rslra: true}", "line 4 adapter.use_rslra", "unknown setting; did you mean 'use_rslora'?"),
    ("adapter: {use_dora: 1}", "line 4 adapter.use_dora", "must be true or false, is 1"),
    ("adapter: {method: vera, vera_dropout: 0.1}", "line 4 adapter.vera_dropout", "did you mean 'dropout'?"),
    (
        "adapter: {init_lora_weights: eva}",
        "line 4 adapter.init_lora_weights",
        "must be true, false or one of gaussian, mica, olora, orthogonal, pissa, pissa_niter_[",
    ),
    ("adapter: {eva_config: {}}", "line 4 adapter.eva_config", "cannot be set in a recipe: it needs data"),
    ("adapter: {method: ia3, loraplus_lr_ratio: 4}", "line 4 adapter.loraplus_lr_ratio", "unknown setting"),
    ("adapter: {fields: {use_dora: true}}", "line 4 adapter.fields", "the method's own settings stand beside its name"),
    ("adapter: {dropout: 1.0}", "line 4 adapter.dropout", "must be less than 1, is 1"),
    ("adapter: {r: 0}", "line 4 adapter.r", "must be at least 1, is 0"),
    ("evaluate: {bootstrap: -1}", "line 4 evaluate.bootstrap", "must be at least 0, is -1"),
    ("evaluate: {split: tset}", "line 4 evaluate.split", "did you mean 'test'?"),
    ("version: 2", "line 4 version", "must be 1, is 2"),
    ("run: {device: ''}", "line 4 run.device", "must not be empty"),
    # two settings that do not go together
    ("train: {batch_size: 8, tokens_per_batch: 9}", "line 4 train.tokens_per_batch", "stands beside batch_size"),
    ("output: {weights: adapter}", "line 4 output.weights", "the recipe has no `adapter` section"),
    ("evaluate:\n  split: validation", "line 5 evaluate.split", "data.validation is not given"),
    ("adapter: 3\noutput: {weights: adapter}", "line 4 adapter", "must be a mapping of settings, is 3"),
    # empty, twice, tagged, variables
    ("train:\n  # epochs: 1", "line 4 train", "is empty; write a value, null for none, {} for a section"),
    ("train: {seed: 1}\nrun: {}\ntrain: {}", "line 6 train", "is set twice, on lines 4 and 6; keep one"),
    ("train:\n  seed: 1\n  seed: x", "line 6 train.seed", "is set twice, on lines 5 and 6; keep one"),
    ("run: !!python/object:os.system {}", "line 4 run", "has the tag '!!python/object:os.system'"),
    ("train:\n  seed: !!python/name:os.sep x", "line 5 train.seed", "has the tag '!!python/name:os.sep'"),
    ("run: {threads: ! 3}", "line 4 run.threads", "has the tag '!'"),
    ("run: &x {}\ntrain: {<<: *x}", "line 5 train.<<", "merge keys are not read"),
    ("train: {!!str seed: 1}", "line 4 train.?", "a key must be plain text"),
    ("train: {? [a] : 1}", "line 4 train.?", "a key must be plain text"),
    ("run: {device: '${NO_SUCH}'}", "line 4 run.device", "variable NO_SUCH is not set; set it, or write ${NO_SUCH:-"),
    ("run: {device: '${1x}'}", "line 4 run.device", "'${1x}' is no variable"),
    ("run: {device: 'a${open'}", "line 4 run.device", "'${open' is no variable"),
]


def test_float16_weights_are_not_trained_but_measured(run):
    text = "task: ner\nmodel: {backbone: x, dtype: float16}\ndata: {train: t, test: u}\n"
    with pytest.raises(RecipeError, match="float16 weights cannot be trained") as error:
        run(text + "train: {}\n")
    assert [row[:2] for row in rows(error)] == [("line 2", "model.dtype")]
    assert run(text).model.dtype == "float16"


@pytest.mark.parametrize(("text", "place", "words"), PROBLEMS)
def test_one_problem(run, text, place, words):
    with pytest.raises(RecipeError) as error:
        run(GOOD + text + "\n")
    assert len(error.value.problems) == 1, str(error.value)
    [(where, key, message)] = rows(error)
    assert f"{where} {key}" == place
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {seed: three}", "must be a whole number, is 'three'"),
        ("train: {seed: 1.5}", "must be a whole number, is 1.5"),
        ("train: {seed: [1]}", "must be a whole number, is a list"),
        ("train: {seed: -1234567}", "must be at least 0, is -1234567"),
        ("train: {label_smoothing: 1.50}", "must be less than 1, is 1.5"),
        ("train: {micro_batch: few}", "must be a whole number or 'auto', is 'few'"),
        ("train: {schedule: zigzag}", "must be one of 'linear', 'cosine', 'constant' or 'inverse_sqrt', is 'zigzag'"),
        ("adapter: {method: loraa}", "unknown method 'loraa'; did you mean 'lora'?"),
        ("adapter: {targets: [null]}", "must be text, is null"),
        ("adapter: {targets: [[q]]}", "must be text, is a list"),
        ("adapter: {targets: [true]}", "must be text, is true; put it in quotes"),
        ("run: {device: {a: b}}", "must be text, is a mapping"),
        ("train: {epochs: " + "y" * 60 + "}", f"must be a number, is '{'y' * 60}'"),
        ("train: {epochs: " + "y" * 61 + "}", f"must be a number, is '{'y' * 57}…'"),
    ],
)
def test_the_whole_message(run, text, message):
    with pytest.raises(RecipeError) as error:
        run(GOOD + text)
    assert [row[2] for row in rows(error)] == [message]


def test_options_that_say_little_of_themselves():
    def messages(**options: Any) -> dict[str, str]:
        with pytest.raises(RecipeError) as error:
            build({"task": {"name": "bare", **options}, **BARE}, {"bare": Bare})
        return {key: message for _, key, message in rows(error)}

    assert messages() == {"task.required": "is missing: what it is for", "task.bare": "is missing"}
    # What pydantic says of rarer mistakes is passed on.
    said = messages(required="a", bare="b", pair=["a"])["task.pair"]
    assert said == "tuple should have at least 2 items after validation, not 1, is a list"
    with pytest.raises(RecipeError) as error:
        build({"task": {"name": "ner", "note": "bad"}, **BARE}, TASKS)
    assert rows(error) == [("", "task", "a bad note needs another scheme")]


CORE_PROBLEMS: list[tuple[str, str, str]] = [
    # the task and its options
    ("task: nre", "line 1 task.name", "unknown task 'nre'; did you mean 'ner'? installed tasks: needy, ner"),
    ("task: zebra", "line 1 task.name", "unknown task 'zebra'; installed tasks: needy, ner"),
    ("task: {scheme: bio}", "line 1 task.name", "is missing; say for example `name: NAME`"),
    ("task: [ner]", "line 1 task", "must be a mapping of settings, is a list"),
    ("task: {name: ner, sheme: bio}", "line 1 task.sheme", "unknown setting; did you mean 'scheme'?"),
    ("task: {name: ner, lables: [a]}", "line 1 task.lables", "unknown setting; did you mean 'labels'?"),
    ("task: {name: ner, epochs: 1}", "line 1 task.epochs", "did you mean 'train.epochs'?"),
    ("task: {name: ner, zzz: 1}", "line 1 task.zzz", "known here: scheme, threshold, note, inner, prompt, name"),
    ("task: {name: ner, options: {scheme: bio}}", "line 1 task.options", "stand beside its name"),
    ("task: {name: ner, scheme: bioe}", "line 1 task.scheme", "or 'bioes', is 'bioe'; did you mean"),
    ("task:\n  name: ner\n  threshold: 2", "line 3 task.threshold", "must be less than 1, is 2"),
    ("task: {name: ner, inner: {dept: 2}}", "line 1 task.inner.dept", "did you mean 'depth'?"),
    ("task: {name: ner, note: bad}", "line 1 task", "a bad note needs another scheme"),
    ("task: needy", "line 1 task.corpus", "is missing; say for example `corpus: a: b`"),
    ("task: {name: ner, labels: []}", "line 1 task.labels", "must not be empty"),
    ("task: {name: ner, labels: [a, 2]}", "line 1 task.labels[1]", "must be text, is 2; put it in quotes"),
    ("task: {name: ner, labels: [a, b, a]}", "line 1 task.labels", "has 'a' more than once"),
    # the model
    ("model: {}", "line 1 model.backbone", "is missing; say for example `backbone: FacebookAI/roberta-base`"),
    ("model: {backbone: null}", "line 1 model.backbone", "is missing"),
    ("model: gpt2", "line 1 model", "must be a mapping of settings, is 'gpt2'"),
    ("model: null", "line 1 model", "is missing; say for example `model: {backbone: FacebookAI/roberta-base}`"),
    ("model: {backbone: x, revision: 1.10}", "line 1 model.revision", "must be text, is 1.1; put it in quotes"),
    ("model: {backbone: x, objective: TokenLable}", "line 1 model.objective", "did you mean 'TokenLabel'? task 'ner'"),
    ("model: {backbone: x, objective: 3}", "line 1 model.objective", "must be text, is 3; put it in quotes"),
    ("model: {backbone: x, objective: ''}", "line 1 model.objective", "must not be empty"),
    ("model: {backbone: x, max_length: 8, overlap: 8}", "line 1 model.overlap", "less than model.max_length (8), is 8"),
    ("model: {backbone: x, max_length: 0}", "line 1 model.max_length", "must be at least 1, is 0"),
    ("model: {backbone: x, max_seq_length: 8}", "line 1 model.max_seq_length", "did you mean 'max_length'?"),
    # data
    ("data: {}", "line 1 data", "names no rows; say train: FILE"),
    ("data: {train: 3}", "line 1 data.train", "must be a file, {path: …} or {hub: …}, is 3"),
    ("data: {train: 3, validation: 0.1}", "line 1 data.train", "is 3"),
    ("data: {train: 3}\ntrain: {}", "line 1 data.train", "is 3"),
    ("data: {train: t, validation: true}", "line 1 data.validation", "must be a file, {path: …} or {hub: …}, is true"),
    ("data: {train: true}", "line 1 data.train", "is true"),
    ("data: {train: ''}", "line 1 data.train", "is empty"),
    ("data: {train: [{text: a}], test: u}", "line 1 data.train", "is a list"),
    ("data: {train: t, test: 1.0}", "line 1 data.test", "must be a share of train between 0 and 1"),
    ("data: {train: t, validation: 0}", "line 1 data.validation", "must be a share of train between 0 and 1"),
    (
        "data: {validation: 0.1, test: u}",
        "line 1 data.validation",
        "is a share of data.train (0.1), which is not given",
    ),
    ("data: {train: t, validation: 0.5, test: 0.5}", "line 1 data.test", "leaves nothing to learn from"),
    ("data: {test: {hub: a, path: b}}", "line 1 data.test", "either a `path` or a `hub` data set, not both"),
    ("data: {test: {hub: a, format: b}}", "line 1 data.test.format", "known here: hub, config, split, revision"),
    ("data: {test: {hub: a, confg: b}}", "line 1 data.test.confg", "did you mean 'config'?"),
    ("data: {test: {corpus: a, queries: b}}", "line 1 data.test.qrels", "is missing; say for example `qrels: data/"),
    ("data: {test: {format: csv}}", "line 1 data.test.path", "is missing; say for example `path: data/train.jsonl`"),
    ("data: {test: {path: a, formt: csv}}", "line 1 data.test.formt", "did you mean 'format'?"),
    ("data: {test: u, columns: {a: 1}}", "line 1 data.columns.a", "must be text, is 1; put it in quotes"),
    ("data: {test: '<DataFrame, 3 rows>'}", "line 1 data.test", "rows that came from Python"),
]


@pytest.mark.parametrize(("text", "place", "words"), CORE_PROBLEMS)
def test_one_problem_in_task_model_or_data(run, text, place, words):
    section = text.split(":")[0]
    rest = {"task": "task: ner", "model": "model: {backbone: x}", "data": "data: {test: u}"}
    del rest[section]
    with pytest.raises(RecipeError) as error:
        run("\n".join([text, *rest.values()]))
    assert len(error.value.problems) == 1, str(error.value)
    [(where, key, message)] = rows(error)
    assert f"{where} {key}" == place
    assert words in message


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("task: ner\nmodel: {backbone: x}", "data", "is missing; say for example `data: {train: data/train.jsonl"),
        ("task: ner\ndata: {test: u}", "model", "is missing"),
        ("model: {backbone: x}\ndata: {test: u}", "task", "is missing; say for example `task: NAME`"),
        ("task: ner\nmodel: {backbone: x}\ndata: {train: t}", "evaluate", "has no rows to score"),
        ("task: ner\nmodel: {backbone: x}\ndata: {test: t}\ntrain: {}", "train", "has no rows to learn from"),
    ],
)
def test_a_section_that_is_not_there(run, text, place, words):
    with pytest.raises(RecipeError) as error:
        run(text)
    [(where, key, message)] = rows(error)
    assert (where, key) == ("line 4" if place == "train" else "", place)
    assert words in message


def test_all_problems_come_at_once_in_the_order_of_their_lines(run):
    text = (
        "train:\n  epochs: 0\n  seed: ${UNSET}\n"
        "task: {name: ner, threshold: 2, sheme: bio}\n"
        "adapter:\n  rank: 4\n  rank: 4\n  method: !x lora\n"
        "model: {backbone: x, objective: Wrong}\ndata: {train: 3, test: u}\nfoo: 1\n"
    )
    with pytest.raises(RecipeError) as error:
        run(text, "run.threads=0")
    places = [(where, key) for where, key, _ in rows(error)]
    assert places == [
        ("line 2", "train.epochs"),
        ("line 3", "train.seed"),
        ("line 4", "task.threshold"),
        ("line 4", "task.sheme"),
        ("line 7", "adapter.rank"),
        ("line 8", "adapter.method"),
        ("line 9", "model.objective"),
        ("line 10", "data.train"),
        ("line 11", "foo"),
        ("--set", "run.threads"),
    ]
    assert "ner.yaml has 10 problems\n  line 2   train.epochs     must be greater than 0, is 0\n" in str(error.value)


def test_the_look(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(GOOD + "\n\n\n\n\nadapter:\n  rank: 8\n\n\n\ntrain:\n  epochs: 0\n")
    with pytest.raises(NlpipeError) as error:
        read("x.yaml", TASKS)
    assert str(error.value) == (
        "x.yaml has 2 problems\n"
        "  line 10  adapter.rank  unknown setting; did you mean 'r'?\n"
        "  line 15  train.epochs  must be greater than 0, is 0"
    )


@pytest.mark.parametrize("broken", ["${UNSET}", "!x y", ""])
@pytest.mark.parametrize("key", ["model", "data", "task", "train", "adapter", "output", "evaluate", "run"])
def test_a_value_that_cannot_be_read_is_one_problem_not_several(run, key, broken):
    sections = {"task": "ner", "model": "{backbone: x}", "data": "{train: t, test: u}", key: broken}
    with pytest.raises(RecipeError) as error:
        run("".join(f"{name}: {value}\n" for name, value in sections.items()))
    assert [key for _, key, _ in rows(error)] == [key]


# Variables


def test_variables(run):
    text = (
        "task: ner\nmodel: {backbone: 'org/${NAME}-${SIZE:-base}'}\ndata: {test: u, train: t}\n"
        "train:\n  epochs: ${E:-3}\n  steps: ${S:-null}\n  clip: ${EMPTY:-2}\n  seed: ${SEED}\n"
        'adapter: {r: "${R}", dropout: "${D:-1e-1}"}\nrun: {device: \'${DEVICE}\', threads: "${T:-auto}"}\n'
        'output: {dir: "$${HOME}/x${NOTHING:-}"}\n'
    )
    environ = {"NAME": "bert", "EMPTY": "", "SEED": "7", "R": " 4 ", "DEVICE": "0"}
    recipe = run(text, environ=environ)
    assert recipe.model.backbone == "org/bert-base"
    assert recipe.train.model_dump(include={"epochs", "steps", "clip", "seed"}) == {
        "epochs": 3,
        "steps": None,
        "clip": 2,
        "seed": 7,
    }
    assert recipe.adapter.model_dump(include={"r", "dropout"}) == {"r": 4, "dropout": 0.1}
    assert (recipe.run.device, recipe.run.threads, recipe.output.dir) == ("0", "auto", "${HOME}/x")


def test_a_variable_is_not_read_twice(run):
    assert run(GOOD + "run: {device: '${A}'}", environ={"A": "${B}"}).run.device == "${B}"
    assert run(GOOD + "run: {device: 'x${A}'}", environ={"A": "1"}).run.device == "x1"


def test_quotes_inside_a_variable_keep_text(run):
    text = GOOD.replace("x}", 'x, revision: "${V}"}')
    assert run(text, environ={"V": "'1.10'"}).model.revision == "1.10"
    with pytest.raises(RecipeError, match=r"must be text, is 1\.1; put it in quotes"):
        run(text, environ={"V": "1.10"})


def test_variables_come_from_the_process_by_default(tmp_path, monkeypatch):
    monkeypatch.setenv("NLPIPE_TEST_DEVICE", "cpu")
    file = tmp_path / "a.yaml"
    file.write_text(GOOD + "run: {device: '${NLPIPE_TEST_DEVICE}'}")
    assert read(file, TASKS).run.device == "cpu"


# extends


def test_extends_merges_mappings_and_replaces_the_rest(run, tmp_path):
    base = (
        "task: {name: ner, scheme: bioes, labels: [a, b]}\nmodel: {backbone: x, revision: r}\n"
        "data: {train: t, test: u, columns: {text: a}}\nadapter: {r: 4}\ntrain: {epochs: 9, seed: 1}\n"
    )
    child = (
        "extends: base.yaml\ntask: {name: ner, labels: [c]}\ntrain: {seed: 2}\nadapter: null\n"
        "data: {columns: {tags: b}}"
    )
    recipe = run(child, base=base)
    assert (recipe.task.options, recipe.task.labels) == ({"scheme": "bioes"}, ("c",))
    assert (recipe.train.epochs, recipe.train.seed, recipe.adapter) == (9, 2, None)
    assert recipe.data.columns == {"text": "a", "tags": "b"}
    assert run("extends: base.yaml\ntask: ner\n", base=base).task.options == {"scheme": "bioes"}


def test_extends_goes_up_several_files_and_paths_belong_to_their_file(tmp_path, monkeypatch):
    for folder in ("top", "mid", "leaf"):
        (tmp_path / folder).mkdir()
    (tmp_path / "top/base.yaml").write_text(
        "task: ner\nmodel: {backbone: ./m}\ndata: {test: d/u.jsonl, train: t.csv}\n"
    )
    (tmp_path / "mid/base.yaml").write_text("extends: ../top/base.yaml\ndata: {train: {path: ../t.csv, format: csv}}\n")
    leaf = tmp_path / "leaf/ner.yaml"
    leaf.write_text("extends: ../mid/base.yaml\ndata: {validation: s3://x/v.csv}\noutput: {dir: out}\n")
    monkeypatch.chdir(tmp_path / "mid")
    recipe = read(leaf, TASKS)
    assert recipe.model.backbone == str(tmp_path / "top/m")
    assert recipe.data.test == str(tmp_path / "top/d/u.jsonl")
    assert recipe.data.train.path == str(tmp_path / "t.csv")
    assert (recipe.data.validation, recipe.output.dir) == ("s3://x/v.csv", "out")
    # A relative name of the recipe changes nothing.
    assert read("../leaf/ner.yaml", TASKS) == recipe


@pytest.mark.parametrize(
    ("backbone", "placed"),
    [
        ("./m", "{here}/m"),
        ("../m", "{up}/m"),
        ("~/m", "{home}/m"),
        ("org/name", "org/name"),
        ("~nobody-here/m", "{here}/~nobody-here/m"),
        ("/abs/m", "/abs/m"),
    ],
)
def test_where_a_backbone_lies(run, tmp_path, monkeypatch, backbone, placed):
    monkeypatch.setenv("HOME", "/home/ada")
    recipe = run(GOOD.replace("x}", f"{backbone}}}").replace("u.jsonl", "~/u.jsonl") + "output: {dir: ~/out}")
    assert recipe.model.backbone == placed.format(here=tmp_path, up=tmp_path.parent, home="/home/ada")
    assert (recipe.data.test, recipe.output.dir) == ("/home/ada/u.jsonl", "/home/ada/out")


def test_the_home_folder_of_a_recipe_and_its_parent(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "base.yaml").write_text(GOOD)
    (tmp_path / "ner.yaml").write_text("extends: ~/base.yaml")
    assert read("~/ner.yaml", TASKS).data.test == str(tmp_path / "u.jsonl")


def test_a_problem_in_a_parent_names_the_parent(run):
    base = "task: ner\nmodel: {backbone: x}\ndata: {test: u}\nrun:\n  device: 3\n  threads: ${UNSET}\n"
    with pytest.raises(RecipeError) as error:
        run("extends: base.yaml\nepochs: 1\n", base=base)
    assert [row[:2] for row in rows(error)] == [
        ("line 2", "epochs"),
        ("base.yaml line 5", "run.device"),
        ("base.yaml line 6", "run.threads"),
    ]
    # What the child replaces is no problem any more, whatever it was.
    assert run("extends: base.yaml\nrun: {device: cpu, threads: 1}\n", base=base).run.device == "cpu"
    with pytest.raises(RecipeError) as error:
        run("extends: base.yaml\nrun: {device: 4, threads: 1}\n", base=base)
    assert rows(error) == [("line 2", "run.device", "must be text, is 4; put it in quotes")]


@pytest.mark.parametrize(
    ("text", "files", "row"),
    [
        ("a: 1\nextends: nope.yaml", {}, ("line 2", "extends", "nope.yaml cannot be read: No such file or directory")),
        ("extends: [a, b]", {}, ("line 1", "extends", "must be the path of one recipe, is a list")),
        ("extends: ${UNSET}", {}, ("line 1", "extends", "the environment variable UNSET is not set")),
        ("extends: ner.yaml", {}, ("line 1", "extends", "goes round in a circle: ner.yaml → ner.yaml")),
        (
            "extends: b.yaml",
            {"b": "x: 1\nextends: ./c.yaml", "c": "extends: b.yaml"},
            ("c.yaml line 1", "extends", "goes round in a circle: ner.yaml → b.yaml → c.yaml → b.yaml"),
        ),
        ("extends: b.yaml", {"b": ""}, ("line 1", "extends", "b.yaml is empty")),
        ("extends: b.yaml", {"b": "[1]"}, ("line 1", "extends", "b.yaml must be a mapping")),
        ("extends: b.yaml", {"b": "a: 1\nb: c: d"}, ("b.yaml line 2, column 5", "", "a second ':' in one line")),
    ],
)
def test_a_parent_that_cannot_be_read(run, text, files, row):
    with pytest.raises(RecipeError) as error:
        run(text, **files)
    [(where, key, message)] = rows(error)
    assert (where, key) == row[:2]
    assert message.startswith(row[2])


# --set


def test_set(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = GOOD + "train: {epochs: 5, clip: 2}\nadapter: {r: 4}\n"
    overrides = [
        "train.epochs=1",
        "train.epochs=1e-1",  # the last one counts
        "train.clip=null",
        "adapter=null",
        "run.device=cpu",
        "task.scheme=bioes",
        "task.labels=[no, yes]",
        "model.revision='1.10'",
        "data.train={path: sub/t.csv, format: csv}",
        "output={dir: a=b}",
    ]
    recipe = run(text, *overrides)
    assert (recipe.train.epochs, recipe.train.clip, recipe.adapter, recipe.run.device) == (0.1, None, None, "cpu")
    assert (recipe.task.options, recipe.task.labels) == ({"scheme": "bioes"}, ("no", "yes"))
    assert (recipe.model.revision, recipe.output.dir) == ("1.10", "a=b")
    assert recipe.data.train.path == str(tmp_path / "sub/t.csv")
    assert run(GOOD, "task={name: ner, scheme: bioes}", " run.device =cpu").task.options == {"scheme": "bioes"}
    assert run(GOOD, "adapter.r=2", "train={}").adapter.r == 2
    assert run(GOOD + "train: {epochs: 5}", "train.epochs=null").train.epochs == 3
    assert run(GOOD.replace("ner", "zebra"), "task=ner").task.name == "ner"
    assert run(GOOD.replace("x}", "'${UNSET}'}"), "model.backbone=y").model.backbone == "y"
    assert run(GOOD.replace("{backbone: x}", "${UNSET}"), "model.backbone=y").model.backbone == "y"


@pytest.mark.parametrize(
    ("override", "key", "words"),
    [
        ("train.epoch=1", "train.epoch", "unknown setting; did you mean 'epochs'?"),
        ("foo=1", "foo", "unknown setting; known here: version, task"),
        ("train.epochs=0", "train.epochs", "must be greater than 0, is 0"),
        ("task.scheme=x", "task.scheme", "must be one of 'bio' or 'bioes', is 'x'"),
        ("task=nre", "task.name", "unknown task 'nre'; did you mean 'ner'?"),
        ("train={epochs: 0}", "train.epochs", "must be greater than 0"),
        ("train", "train", "must look like KEY=VALUE, for example train.epochs=1"),
        ("train..x=1", "train..x=1", "must look like KEY=VALUE"),
        ("=1", "=1", "must look like KEY=VALUE"),
        ("data.test.format=csv", "data.test.format", "'data.test' is '"),
        ("task.name.x=1", "task.name.x", "'task.name' is 'ner' here, which has no settings of its own"),
        ("run.device= ", "run.device", "is empty"),
        ("run.device=", "run.device", "is empty; write null for none"),
        ("run.threads=[1", "run.threads", "the closing ] is missing"),
        ("run.threads={a: 1, a: 2}", "run.threads.a", "is set twice"),
        ("run.device=${UNSET}", "run.device", "UNSET is not set"),
        ("run.device=!x y", "run.device", "has the tag '!x'"),
    ],
)
def test_a_wrong_set(run, override, key, words):
    with pytest.raises(RecipeError) as error:
        run(GOOD, override)
    [(where, at, message)] = rows(error)
    assert (where, at) == ("--set", key)
    assert words in message


# Which file


def test_a_recipe_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr("nlpipe.recipe_files.shipped", lambda: {"quickstart/sentiment.yaml": tmp_path / "s.yaml"})
    (tmp_path / "s.yaml").write_text(GOOD)
    for name in ("sentiment.yaml", "quickstart/sentimant.yaml", "recipes/quickstart/sentimant.yml"):
        with pytest.raises(RecipeError) as error:
            read(name, TASKS)
        assert str(error.value) == f"there is no recipe {name}; nlpipe ships quickstart/sentiment.yaml"
    with pytest.raises(RecipeError) as error:
        read("zebra.yaml", TASKS)
    assert str(error.value) == "there is no recipe zebra.yaml"
    with pytest.raises(RecipeError, match="is a folder, not a recipe"):
        read(tmp_path, TASKS)
    with pytest.raises(RecipeError) as error:
        read(tmp_path / "gone.yaml", TASKS)
    assert str(tmp_path / "gone.yaml") in str(error.value)


def test_a_shipped_recipe_is_found_by_name(tmp_path, monkeypatch):
    (tmp_path / "shipped/quickstart").mkdir(parents=True)
    (tmp_path / "shipped/quickstart/a.yaml").write_text(GOOD)
    monkeypatch.setattr(
        "nlpipe.recipe_files.shipped", lambda: {"quickstart/a.yaml": tmp_path / "shipped/quickstart/a.yaml"}
    )
    monkeypatch.chdir(tmp_path)
    for name in ("quickstart/a.yaml", "recipes/quickstart/a.yaml"):
        assert read(name, TASKS).data.test == str(tmp_path / "shipped/quickstart/u.jsonl")
    (tmp_path / "quickstart").mkdir()
    (tmp_path / "quickstart/a.yaml").write_text(GOOD)
    # The user's own file comes first.
    assert read("quickstart/a.yaml", TASKS).data.test == str(tmp_path / "quickstart/u.jsonl")


@pytest.mark.parametrize("inside", [True, False])
def test_shipped_recipes_lie_in_the_package_or_beside_it(tmp_path, monkeypatch, inside):
    package = tmp_path / "site/nlpipe"
    folder = package / "recipes" if inside else tmp_path / "site/recipes"
    (folder / "quickstart").mkdir(parents=True)
    for name in ("b.yaml", "quickstart/a.yml", "quickstart/rows.jsonl"):
        (folder / name).write_text("")
    monkeypatch.setattr("nlpipe.recipe_files.__file__", str(package / "recipe_files.py"))
    assert shipped() == {"b.yaml": folder / "b.yaml", "quickstart/a.yml": folder / "quickstart/a.yml"}


def test_no_shipped_recipes(tmp_path, monkeypatch):
    monkeypatch.setattr("nlpipe.recipe_files.__file__", str(tmp_path / "nlpipe/recipe_files.py"))
    assert shipped() == {}


# From Python


class Frame:
    """As much of a DataFrame as a recipe sees; comparing it is an error, as with a DataFrame's truth value."""

    def __len__(self) -> int:
        return 120

    def __bool__(self) -> bool:
        raise ValueError("the truth value is ambiguous")


@pytest.mark.parametrize("rows_", [Frame(), [{"text": "a"}], iter(())])
def test_rows_from_python(rows_):
    recipe = build(
        {"task": "ner", "model": {"backbone": "x"}, "data": {"train": rows_, "test": rows_}, "train": {}}, TASKS
    )
    assert recipe.data.train is rows_ or recipe.data.train == rows_
    for source in (Path("a.csv"), recipes.FileSource(path="a.csv"), recipes.HubSource(hub="a/b")):
        held = Recipe(task="ner", model={"backbone": "x"}, data={"test": source}).data.test
        assert held == ("a.csv" if isinstance(source, Path) else source)


def test_rows_from_python_are_named_in_the_dump(tmp_path):
    data = {"train": Frame(), "validation": [{"text": "a"}], "test": iter(())}
    written = dump(Recipe(task="ner", model={"backbone": "x"}, data=data))
    assert "train: <Frame, 120 rows>\n  validation: <list, 1 rows>\n  test: <tuple_iterator>" in written
    (tmp_path / "a.yaml").write_text(written)
    with pytest.raises(RecipeError, match="has 3 problems") as error:
        read(tmp_path / "a.yaml", TASKS)
    assert "rows that came from Python and are not in the recipe" in str(error.value)


def test_build_and_check_speak_plainly():
    with pytest.raises(RecipeError) as error:
        build({"task": {"name": "ner", "sheme": 1}, "model": {"backbon": "x"}, "data": {"test": "u"}}, TASKS)
    assert str(error.value).splitlines() == [
        "the recipe has 2 problems",
        "    model.backbon  unknown setting; did you mean 'backbone'?",
        "    task.sheme     unknown setting; did you mean 'scheme'?",
    ]
    with pytest.raises(RecipeError, match=r"the recipe has 1 problem\n.*unknown task 'nre'; did you mean 'ner'"):
        check(Recipe(task="nre", **BARE), TASKS)
    with pytest.raises(RecipeError, match=r"has 1 problem\n +task\.options +must be a mapping, is 3"):
        build({"task": {"name": "ner", "options": 3, "scheme": "bio"}, **BARE}, TASKS)
    with pytest.raises(RecipeError, match="installed tasks: none"):
        check(Recipe(task="ner", **BARE), {})
    with pytest.raises(RecipeError, match=r"task\.threshold +must be greater than 0, is -1"):
        check(Recipe(task={"name": "ner", "options": {"threshold": -1}}, **BARE), TASKS)
    with pytest.raises(RecipeError, match=r"model\.objective +unknown objective 'X'"):
        check(Recipe(task="ner", model={"backbone": "x", "objective": "X"}, data={"test": "u"}), TASKS)
    assert build({"task": {"name": "ner", "options": {"scheme": "bio"}}, **BARE}, TASKS).task.options == {
        "scheme": "bio"
    }
    sections = {"task": recipes.TaskSection(name="ner", options={"scheme": "x"}), **BARE}
    with pytest.raises(RecipeError, match=r"task\.scheme"):
        build(sections, TASKS)


# Writing

_words = st.text(min_size=1, max_size=12) | st.sampled_from(
    [
        "no",
        "1e5",
        "010",
        "${X}",
        "$${X}",
        "a ${B:-c}",
        "null",
        "~",
        "\x85",
        "\u2028",
        "\ufeff",
        " x ",
        "- a",
        "a: b",
        "#",
        "'",
    ]
)
_reals = st.floats(0, 1, exclude_min=True, exclude_max=True)
_counts = st.integers(1, 10**9)
_sources = (
    st.builds(
        lambda name: f"/d/{name}",
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8),
    )
    .filter(lambda path: path == str(Path(path)) and ".." not in path and not path.endswith("/."))
    .map(lambda path: path)
    | st.fixed_dictionaries({"hub": _words}, optional={"config": _words, "split": _words})
    | st.fixed_dictionaries({"path": st.just("s3://x/y")}, optional={"format": _words})
)
_recipes = st.fixed_dictionaries(
    {
        "task": st.fixed_dictionaries(
            {"name": st.just("ner")},
            optional={
                "labels": st.lists(_words, min_size=1, max_size=4, unique=True),
                "scheme": st.sampled_from(["bio", "bioes"]),
                "threshold": _reals,
                "note": _words.filter(lambda note: note != "bad") | st.none(),
            },
        ),
        "model": st.fixed_dictionaries(
            {"backbone": _words.filter(lambda name: not name.startswith(("./", "../", "~")))},
            optional={
                "revision": _words,
                "max_length": st.integers(10, 99),
                "overlap": st.integers(0, 9),
                "long": st.just("error"),
            },
        ),
        "data": st.fixed_dictionaries(
            {"train": _sources, "test": _sources},
            optional={"validation": _reals | _sources, "columns": st.dictionaries(_words, _words, max_size=3)},
        ),
    },
    optional={
        "train": st.fixed_dictionaries(
            {},
            optional={
                "epochs": _counts | _reals,
                "steps": _counts,
                "tokens_per_batch": _counts,
                "learning_rate": _reals,
                "clip": st.none() | _reals,
                "class_weights": st.just("balanced") | st.dictionaries(_words, _reals, max_size=3),
            },
        ),
        "adapter": st.none()
        | st.fixed_dictionaries({}, optional={"targets": st.just("auto") | st.lists(_words), "alpha": _reals}),
        "output": st.fixed_dictionaries({}, optional={"dir": _words.filter(lambda name: not name.startswith("~"))}),
    },
)


@settings(
    max_examples=75, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(described=_recipes)
def test_what_is_dumped_is_read_back(tmp_path, described):
    recipe = build(described, TASKS)
    file = tmp_path / "dumped.yaml"
    file.write_bytes(dump(recipe).encode())
    assert read(file, TASKS, environ={}) == recipe


def test_dump_writes_paths_that_hold_anywhere(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = {"train": {"path": "t.csv", "format": "tsv"}, "test": "u.csv", "validation": 0.25}
    recipe = Recipe(task="ner", model={"backbone": "./m"}, data=data)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.yaml").write_text(dump(recipe))
    again = read(tmp_path / "deep/a.yaml", TASKS)
    assert (again.model.backbone, again.data.test) == (str(tmp_path / "m"), str(tmp_path / "u.csv"))
    assert again.data.train == recipes.FileSource(path=str(tmp_path / "t.csv"), format="tsv")
    assert again.data.validation == 0.25


def test_the_files_of_a_collection_are_paths_too(run, tmp_path, monkeypatch):
    collection = "{corpus: c.jsonl, queries: ../q.jsonl, qrels: s3://x/r.tsv}"
    recipe = run(GOOD.replace("u.jsonl", collection))
    placed = {"corpus": f"{tmp_path}/c.jsonl", "queries": f"{tmp_path.parent}/q.jsonl", "qrels": "s3://x/r.tsv"}
    assert recipe.data.test.model_dump() == placed
    assert run(dump(recipe)) == recipe
    monkeypatch.chdir(tmp_path)
    made = Recipe(task="ner", model={"backbone": "x"}, data={"test": {**placed, "corpus": "c.jsonl"}})
    assert run(dump(made)).data.test == recipe.data.test


def test_dump_writes_text_as_it_is_and_on_one_line(run):
    text = "naïve ${X} " * 40
    recipe = build({"task": {"name": "ner", "note": text}, **BARE, "run": {"device": "1e5"}}, TASKS)
    assert "  note: '" + text.replace("${", "$${") + "'\n" in dump(recipe)
    assert run(dump(recipe)).task.options == {"note": text}
    assert run(dump(recipe)).run.device == "1e5"


def test_dump_keeps_the_order_of_sections_and_writes_all_settings(run):
    text = dump(run(GOOD + "train: {}\n"))
    top = [line.split(":")[0] for line in text.splitlines() if not line.startswith((" ", "-"))]
    assert top == list(Recipe.model_fields)
    assert "  clip: 1.0\n" in text
    assert "batch_size: 32" in text


# No input, however odd, gives anything but a RecipeError

_anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(-2, 2)
    | st.sampled_from(["auto", "ner", "${U}", "x", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["path", "hub", "name", "r", "lr", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)
_keys = st.sampled_from(
    [
        f"{section}.{field}"
        for section in Recipe.model_fields
        for field in ("name", "train", "epochs", "labels", "r", "overlap", "inner")
    ]
    + list(Recipe.model_fields)
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(_keys, _anything, max_size=4))
def test_odd_values_give_a_recipe_error(tmp_path, changes):
    file = tmp_path / "odd.yaml"
    file.write_text(GOOD)
    try:
        read(file, TASKS, [f"{key}={json.dumps(value)}" for key, value in changes.items()], {})
    except RecipeError as error:
        assert error.problems


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.sampled_from("ab:-[]{},&*!|>'\"#%@`?\n\t $~.1"), max_size=40))
def test_odd_text_is_read_or_refused(text):
    try:
        recipe_yaml.parse(text, "", {})
    except recipe_yaml.UnreadableError as error:
        assert error.where.startswith("line ")
        assert error.reason


# Describing


def models() -> list[type[pydantic.BaseModel]]:
    return [Recipe, *(v for v in vars(recipes).values() if isinstance(v, type) and issubclass(v, pydantic.BaseModel))]


@pytest.mark.parametrize("model", models())
def test_every_setting_says_what_it_is(model):
    assert model.model_config["extra"] == "forbid" or model is TaskOptions
    for name, field in model.model_fields.items():
        assert field.description, f"{model.__name__}.{name}"


def test_the_schema_knows_the_core_and_each_task():
    found = schema(TASKS)
    json.dumps(found)
    assert set(found["properties"]) == {*Recipe.model_fields, "extends"}
    short, needy, ner = found["properties"]["task"]["oneOf"]
    assert short["enum"] == ["needy", "ner"]
    assert ner["properties"]["name"]["const"] == "ner"
    assert set(ner["properties"]) == {"name", "labels", *Options.model_fields}
    assert ner["properties"]["scheme"]["description"] == "how tags are written"
    assert (ner["additionalProperties"], ner["required"], needy["required"]) == (False, ["name"], ["name", "corpus"])
    lora, *others = found["$defs"]["AdapterSection"]["oneOf"]
    assert "rank of each update" in lora["properties"]["r"]["description"]
    assert (lora["properties"]["method"]["const"], lora["required"]) == ("lora", [])
    assert {"use_dora", "loraplus_lr_ratio"} <= set(lora["properties"])
    [ia3] = [other for other in others if other["properties"]["method"]["const"] == "ia3"]
    assert (ia3["required"], "r" in ia3["properties"], ia3["additionalProperties"]) == (["method"], False, False)
    assert found["$defs"]["TrainSection"]["properties"]["seed"]["minimum"] == 0
    train, validation = (found["$defs"]["DataSection"]["properties"][name] for name in ("train", "validation"))
    # A file, a mapping, or a share; what only Python can give is left out.
    sections = ["section"] * 3  # a file, a data set of the Hub, a collection
    assert [part.get("type", "section") for part in train["anyOf"][0]["oneOf"]] == ["string", *sections]
    share = {"exclusiveMinimum": 0, "exclusiveMaximum": 1, "type": "number"}
    assert share in validation["anyOf"][0]["oneOf"]
    assert {} not in validation["anyOf"][0]["oneOf"]
    assert ner["properties"]["inner"]["$ref"] == "#/$defs/ner.Nested"


def refs(part: Any) -> list[str]:
    if isinstance(part, dict):
        inner = [ref for value in part.values() for ref in refs(value)]
        return [part["$ref"], *inner] if "$ref" in part else inner
    return [ref for value in part for ref in refs(value)] if isinstance(part, list) else []


def test_the_schema_refers_to_what_it_defines():
    found = schema(TASKS)
    assert {ref.removeprefix("#/$defs/") for ref in refs(found)} == set(found["$defs"])


@pytest.mark.parametrize(("task", "family"), [(Ner, None), (Ner, Family.DECODER), (Needy, Family.ENCODER)])
def test_a_template_is_a_recipe(run, task, family):
    text = template(task, family)
    recipe = run(text)
    assert recipe.task.name == task.name
    assert recipe.model.backbone == {None: "FacebookAI/roberta-base"}.get(
        family, "openai-community/gpt2" if family is Family.DECODER else "FacebookAI/roberta-base"
    )
    assert (recipe.learning_rate, recipe.adapter.r) == (5e-4, 8)
    assert '#            {"text": "Ada\\nLovelace # wrote", "tags": ["B", "I", "O"]}' in text
    assert ("# labels:" in text) == (task is Needy)
    if task is Ner:
        assert "  # scheme: bio" in text
        assert "# how tags are written" in text
        # What stands behind a # is right too.
        options = [
            line.replace("# ", "", 1) for line in text.splitlines() if line.startswith("  # ") and "olumns" not in line
        ]
        kept = [line for line in text.splitlines() if not line.startswith("  #")]
        task_at = kept.index("  name: ner") + 1
        assert (
            check(run("\n".join(kept[:task_at] + options[: len(Options.model_fields)] + kept[task_at:])), TASKS)
            == Options()
        )
    else:
        assert recipe.task.options == {"corpus": "a: b"}
        assert "\n  # limits: [1, 2]\n" in text


def test_no_template_for_a_family_that_the_task_does_not_serve():
    with pytest.raises(
        RecipeError, match=r"task 'ner' does not serve encoder-decoder models; it serves: encoder, decoder$"
    ):
        template(Ner, Family.ENCODER_DECODER)


def test_importing_recipes_is_light():
    heavy = "{'torch', 'transformers', 'pandas', 'numpy', 'datasets', 'peft'}"
    code = f"import sys, nlpipe.recipe; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
