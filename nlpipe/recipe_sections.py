"""What a recipe may say: one frozen model per section, and Recipe over them.

Each field's docstring is its help in the YAML schema, on the command line and in the docs. This module knows
no file, no YAML and no task; which options a task has is checked against the task, in `recipe.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from nlpipe.adapter_methods import METHODS
from nlpipe.generation import Generation
from nlpipe.recipe_sources import Count, Name, Real, Section, Size, Source, SourceOrShare, compiled, complain
from nlpipe.recipe_sweep import SweepSection
from nlpipe.recipe_training import LEARNING_RATES, TrainSection

Split = Literal["train", "validation", "test"]


def gathered(data: Any, section: type[Section], name: str) -> Any:
    """The data of a section with all that is none of its fields put under `name`."""
    if not isinstance(data, Mapping):
        return data
    core = {key: value for key, value in data.items() if key in section.model_fields}
    beside = {key: value for key, value in data.items() if key not in section.model_fields}
    if beside and isinstance(core.get(name, {}), Mapping):
        core[name] = {**core.get(name, {}), **beside}
    return core


class TaskSection(Section):
    """What the data mean. `task: NAME` is short for `task: {name: NAME}`."""

    name: Name = Field(examples=["NAME"])
    """the task, one of `nlpipe tasks`"""
    labels: tuple[Name, ...] | None = Field(None, min_length=1)
    """names of the labels in the order of the model's outputs; null: as found in the training data"""
    options: dict[str, Any] = Field(default_factory=dict)
    """the task's own settings; in YAML they stand beside `name`"""

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else gathered(data, cls, "options")

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        twice = next((label for label in labels or () if (labels or ()).count(label) > 1), None)
        if twice is not None:
            raise complain(f"has '{twice}' more than once")
        return labels


class TokenizerSection(Section):
    """A tokenizer that is learnt from the training rows' texts, for a new model."""

    type: Literal["bpe", "wordpiece", "unigram"]
    """bpe: of bytes, as GPT-2's; wordpiece: as BERT's, for encoders; unigram: as T5's (SentencePiece)"""
    vocab_size: Count
    """entries at most, special tokens among them"""
    lowercase: bool = False
    """write everything small"""
    min_frequency: Count = 2
    """bpe, wordpiece: pairs that occur less often are not joined"""
    byte_fallback: bool = True
    """unigram: characters it has not learnt are written as bytes; false: they become the unknown token, as in T5"""


def _tokenizer_kind(value: Any) -> str:
    return "<learnt>" if isinstance(value, Mapping | TokenizerSection) else "<name>"


class ModelSection(Section):
    """The pretrained model, or a new one, and how it is asked."""

    backbone: Name | None = Field(None, examples=["FacebookAI/roberta-base"])
    """a Hub name, a folder (from `./` or `../` on: beside the recipe), an nlpipe model, package:NAME/PATH"""
    new: dict[str, Any] | None = Field(None, examples=[{"model_type": "t5", "d_model": 256}])
    """in place of `backbone`, a model with random weights: `model_type` and fields of its transformers config"""
    tokenizer: (
        Annotated[
            Annotated[Name, Tag("<name>")] | Annotated[TokenizerSection, Tag("<learnt>")],
            Discriminator(_tokenizer_kind),
        ]
        | None
    ) = None
    """of a new model: a folder or Hub name that has one, or {type, vocab_size} of one to learn"""
    revision: Name = "main"
    """the branch, tag or commit of a Hub model"""
    objective: Name = "auto"
    """how the model is asked (`nlpipe tasks --grid`); auto: the task's first for the model's family"""
    max_length: Count | Literal["auto"] = "auto"
    """tokens that one pass reads, special ones included; auto: what the model was made for"""
    long: Literal["window", "truncate", "error"] = "window"
    """longer texts: read all of them in windows, cut them (counted and reported), or refuse them"""
    overlap: Size = 0
    """tokens that neighbouring windows share"""
    attention: Literal["auto", "causal"] = "auto"
    """a decoder that labels words or finds spans sees both sides; `causal` leaves it as it was pretrained"""
    quantize: Literal["4bit", "8bit"] | None = None
    """keep the backbone's layers in so many bits (bitsandbytes; needs an adapter); null: as dtype says"""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """the numbers the weights are loaded as; auto: float32 on a processor"""

    @field_validator("overlap")
    @classmethod
    def _fits(cls, overlap: int, info: ValidationInfo) -> int:
        length = info.data.get("max_length")
        if isinstance(length, int) and overlap >= length:
            raise complain(f"must be less than model.max_length ({length}), is {overlap}")
        return overlap

    @model_validator(mode="after")
    def _one_model(self) -> ModelSection:
        if self.backbone is None and self.new is None:
            raise complain(
                "is missing; say for example `backbone: FacebookAI/roberta-base`, or `new: {model_type: …}` for a "
                "model from scratch",
                "model.backbone",
            )
        if self.new is None:
            if self.tokenizer is not None:
                raise complain("is for a new model alone; a backbone has its own", "model.tokenizer")
            return self
        if self.backbone is not None:
            raise complain("stands beside model.backbone; say one of the two", "model.new")
        if self.tokenizer is None:
            raise complain(
                "is missing; a new model needs one: a folder or Hub name, or {type: bpe, vocab_size: 8000} to learn it",
                "model.tokenizer",
            )
        if "revision" in self.model_fields_set:
            raise complain("does nothing for a new model; leave it out", "model.revision")
        return self

    @property
    def name(self) -> str:
        """The backbone as messages call it."""
        return self.backbone or f"new {(self.new or {}).get('model_type')}"


class AdapterSection(Section):
    """A small set of new weights that is trained in the model's place."""

    method: Name = "lora"
    """one of PEFT's (docs/adapters.md); LoRA: Hu et al. 2021, https://arxiv.org/abs/2106.09685"""
    r: Count | None = None
    """the rank of each update; null: the method's default (LoRA: 8)"""
    alpha: Real | None = Field(None, gt=0)
    """the scale of the updates (LoRA: alpha / r); null: the method's default (LoRA: 16)"""
    dropout: Real | None = Field(None, ge=0, lt=1)
    """the share of the adapter's inputs dropped in training; null: the method's default (LoRA: 0)"""
    targets: str | Sequence[str] = "auto"
    """layers that are adapted: auto (the method's own; LoRA: all-linear), all-linear, a list of name ends, one regex"""
    fields: dict[str, Any] = Field(default_factory=dict)
    """the method's own settings, under PEFT's names; in YAML they stand beside `method`"""

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        return gathered(data, cls, "fields")

    @property
    def written(self) -> dict[str, Any]:
        """As a recipe has it: the method's own settings beside the core's."""
        return {**{name: getattr(self, name) for name in type(self).model_fields if name != "fields"}, **self.fields}

    @field_validator("targets")
    @classmethod
    def _compiles(cls, targets: str | Sequence[str]) -> str | Sequence[str]:
        if not isinstance(targets, str):
            return tuple(targets)
        return compiled(targets)


class DataSection(Section):
    """Where the rows come from."""

    train: Source | None = Field(None, examples=["data/train.jsonl"])
    """rows to learn from: a file, {path, format}, {hub, config, split, revision}, or a DataFrame"""
    validation: SourceOrShare | None = None
    """rows that choose the best weights: as train, or a share of train between 0 and 1"""
    test: SourceOrShare | None = None
    """rows that are only scored: as train, or a share of train between 0 and 1"""
    columns: dict[str, Name] = Field(default_factory=dict)
    """our name of a field: the column that holds it, where the data name it otherwise"""
    check: Literal["warn", "strict", "off"] = "warn"
    """before training: warn of leaks, conflicting golds and empty rows; refuse all that `nlpipe data check` warns of"""

    @field_validator("validation", "test")
    @classmethod
    def _share_of_something(cls, source: Any, info: ValidationInfo) -> Any:
        if not isinstance(source, float):
            return source
        if "train" in info.data and info.data["train"] is None:
            raise complain(f"is a share of data.train ({source:g}), which is not given")
        other = info.data.get("validation") if info.field_name == "test" else None
        if isinstance(other, float) and other + source >= 1:
            raise complain(f"leaves nothing to learn from: it and data.validation take {other + source:g} of train")
        return source

    @model_validator(mode="after")
    def _rows(self) -> DataSection:
        if self.train is None and self.validation is None and self.test is None:
            raise complain("names no rows; say train: FILE, or test: FILE to evaluate only")
        return self


class EvaluateSection(Section):
    """What is scored at the end, on the model as it was saved."""

    split: Split | None = None
    """the rows to score; null: test where there is one, else validation"""
    bootstrap: Size = 1000
    """resamples behind each confidence interval; 0: no intervals"""
    metrics: tuple[Name, ...] = ()
    """further scores, beside the task's own: names, or evaluate:NAME and paths of the library evaluate"""
    slices: tuple[Name, ...] | None = None
    """parts of the rows to score too: columns, `length`, `label`, or expressions such as `stars > 3`; null: what offers
    itself"""


class RunSection(Section):
    """Where the work is done."""

    device: Name = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    threads: Count | Literal["auto"] = "auto"
    """processor threads of each process; auto: as many as there are cores, shared among them"""
    processes: Count = 1
    """processes that train together on this machine, one a GPU; the batch is shared out, the result is the same"""
    trackers: tuple[Literal["tensorboard", "mlflow", "wandb", "trackio"], ...] = ()
    """who is told each step's loss and all scores, beside events.jsonl"""


class OutputSection(Section):
    """What is written, and where."""

    dir: str = ""
    """the folder of the run, relative to the working directory; empty: runs/ and the task's name"""
    weights: Literal["merged", "adapter"] = "merged"
    """a model that needs no PEFT, or the adapter alone"""


class Recipe(Section):
    """All that a run needs to know: made here from Python values, or read from YAML by `nlpipe.recipe.read`.

    `Recipe(task="…", model={"backbone": "…"}, data={"train": frame}, train={})` takes mappings for sections
    and raises pydantic's ValidationError; `nlpipe.recipe.build` takes one mapping and raises RecipeError.
    Relative paths in a recipe made in Python are relative to the working directory.
    """

    version: Literal[1] = 1
    """the version of this format"""
    task: TaskSection = Field(examples=["NAME"])
    """what the data mean"""
    model: ModelSection = Field(examples=[{"backbone": "FacebookAI/roberta-base"}])
    """the pretrained model, or a new one, and how it is asked"""
    adapter: AdapterSection | None = Field(None, validate_default=True)
    """train an adapter; null: all weights are trained"""
    data: DataSection = Field(examples=[{"train": "data/train.jsonl", "validation": 0.1}])
    """where the rows come from"""
    train: TrainSection | None = Field(None, validate_default=True)
    """how the model learns; null: an untouched model is evaluated"""
    generation: Generation = Generation()
    """how text is written, in evaluation and by the model as it is saved"""
    evaluate: EvaluateSection = Field(EvaluateSection(), validate_default=True)
    """what is scored at the end"""
    run: RunSection = RunSection()
    """where the work is done"""
    output: OutputSection = Field(OutputSection(), validate_default=True)
    """what is written, and where"""
    sweep: SweepSection | None = None
    """several trainings that differ in some settings, of which the best is named"""
    seeds: tuple[Size, ...] | None = Field(None, min_length=1, examples=[[1, 2, 3]])
    """the same training with each of these seeds in place of train.seed: mean and standard deviation of the scores"""

    @field_validator("adapter")
    @classmethod
    def _fits_model(cls, adapter: AdapterSection | None, info: ValidationInfo) -> AdapterSection | None:
        model = info.data.get("model")
        if model is not None and model.quantize and adapter is None:
            raise complain(
                f"is '{model.quantize}', and so few bits cannot be trained; add an `adapter`", "model.quantize"
            )
        if adapter is not None and "model" in info.data and info.data["model"].new is not None:
            raise complain(
                "needs a pretrained model: a new one has random weights, which an adapter leaves as they are"
            )
        return adapter

    @field_validator("train")
    @classmethod
    def _learns_something(cls, train: TrainSection | None, info: ValidationInfo) -> TrainSection | None:
        if train is None and "model" in info.data and info.data["model"].new is not None:
            raise complain("is missing: a new model knows nothing before it is trained; say `train: {}`", "train")
        return train

    @field_validator("train")
    @classmethod
    def _rows_to_learn_from(cls, train: TrainSection | None, info: ValidationInfo) -> TrainSection | None:
        data = info.data.get("data")
        if train is not None and data is not None and data.train is None:
            raise complain("has no rows to learn from; say data: {train: FILE}, or leave `train` out")
        return train

    @field_validator("train")
    @classmethod
    def _rows_to_choose_by(cls, train: TrainSection | None, info: ValidationInfo) -> TrainSection | None:
        data = info.data.get("data")
        given = [name for name in ("evaluate_every", "best", "early_stopping") if getattr(train, name, None)]
        if given and data is not None and data.validation is None:
            raise complain("does nothing without data.validation; give it rows, or leave it out", f"train.{given[0]}")
        return train

    @field_validator("train")
    @classmethod
    def _trainable(cls, train: TrainSection | None, info: ValidationInfo) -> TrainSection | None:
        model = info.data.get("model")
        if train is not None and model is not None and model.dtype == "float16":
            raise complain(
                "float16 weights cannot be trained: steps are lost in rounding, and T5's numbers grow too large for "
                "it; say float32, or bfloat16",
                "model.dtype",
            )
        return train

    @field_validator("evaluate")
    @classmethod
    def _rows_to_score(cls, evaluate: EvaluateSection, info: ValidationInfo) -> EvaluateSection:
        data = info.data.get("data")
        if data is None or "train" not in info.data:
            return evaluate
        if evaluate.split is not None and getattr(data, evaluate.split) is None:
            raise complain(f"is '{evaluate.split}', but data.{evaluate.split} is not given", "evaluate.split")
        untouched = info.data["train"] is None
        if untouched and evaluate.split is None and data.test is None and data.validation is None:
            raise complain(
                "has no rows to score; say data: {test: FILE}, or `train: {}` to learn from data.train first"
            )
        return evaluate

    @field_validator("output")
    @classmethod
    def _placed(cls, output: OutputSection, info: ValidationInfo) -> OutputSection:
        if output.weights == "adapter" and "adapter" in info.data and info.data["adapter"] is None:
            raise complain(
                "is 'adapter', but the recipe has no `adapter` section; add one, or say merged", "output.weights"
            )
        if not output.dir and "task" in info.data:
            return output.model_copy(update={"dir": f"runs/{info.data['task'].name}"})
        return output

    @field_validator("sweep")
    @classmethod
    def _can_be_swept(cls, sweep: SweepSection | None, info: ValidationInfo) -> SweepSection | None:
        data = info.data.get("data")
        if sweep is None or "train" not in info.data:
            return sweep
        if info.data["train"] is None:
            raise complain("is for recipes that train, and this one has no `train` section")
        if data is not None and data.validation is None:
            raise complain("needs rows to choose by; say data: {validation: 0.1}")
        return sweep

    @field_validator("seeds")
    @classmethod
    def _can_be_repeated(cls, seeds: tuple[int, ...] | None, info: ValidationInfo) -> tuple[int, ...] | None:
        data = info.data.get("data")
        if seeds is None or "train" not in info.data:
            return seeds
        if len(set(seeds)) < len(seeds):
            raise complain("has a seed more than once, which would only repeat its run")
        if info.data["train"] is None:
            raise complain("is for recipes that train, and this one has no `train` section")
        if info.data.get("sweep") is not None:
            raise complain("stands beside sweep; find the best settings first, then repeat them")
        if data is not None and data.validation is None and data.test is None:
            raise complain("needs rows to score; say data: {test: FILE} or {validation: 0.1}")
        return seeds

    @property
    def learning_rate(self) -> float:
        """The peak learning rate: the recipe's, else the adapter's method's, or one of `LEARNING_RATES`."""
        if self.train is not None and self.train.learning_rate is not None:
            return self.train.learning_rate
        optimizer = "adamw" if self.train is None else self.train.optimizer
        if optimizer == "adamw" and self.adapter is not None:
            return METHODS[self.adapter.method].rate
        return LEARNING_RATES[optimizer]

    @property
    def split(self) -> Split | None:
        """The rows to score at the end: the named split, else test, else validation, else None."""
        if self.evaluate.split is not None:
            return self.evaluate.split
        return "test" if self.data.test is not None else "validation" if self.data.validation is not None else None
