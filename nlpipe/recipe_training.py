"""What a recipe may say of how a model learns: `train:`. Knows no model, no data and no device."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from nlpipe.recipe_sources import Count, Name, Real, Section, Size, compiled, complain

ROWS_PER_STEP = 32
"""`train.batch_size` where a recipe gives neither it nor `tokens_per_batch`."""

LEARNING_RATES = {"adamw": 3e-5, "adafactor": 1e-3}
"""`train.learning_rate` where a recipe gives none, by optimizer; an adapter's is its method's.

3e-5 is the middle of the values that Devlin et al. 2019
(BERT, appendix A.3) try in full fine-tuning; Adafactor's rate is relative to a weight's size, and 1e-3 is what T5 is
fine-tuned with (Raffel et al. 2020, section 3.1.2).
"""

_EPOCHS = re.compile(r"(\d+(?:\.\d+)?) epochs?")


def _distance(value: Any) -> Any:
    """Whole numbers count steps; texts count epochs, as `2 epochs` or `0.5 epochs`."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    found = _EPOCHS.fullmatch(value) if isinstance(value, str) else None
    steps = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not steps and not (found and float(found[1]) > 0):
        said = f"'{value}'" if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else value
        raise complain(f"must be a number of steps, or of epochs as '2 epochs' or '0.5 epochs', is {said}")
    return value


Distance = Annotated[int | str, BeforeValidator(_distance)]
"""How far apart two evaluations or checkpoints are: 500 (steps), or "2 epochs"."""


class EarlyStopping(Section):
    """When further training is given up. `early_stopping: 3` is short for `{patience: 3}`."""

    patience: Count = Field(examples=[3])
    """evaluations in a row without a better score"""
    min_delta: Real = Field(0.0, ge=0)
    """by how much a score must be better to count, in the score's own unit"""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"patience": data} if isinstance(data, int | float) else data


class TrainSection(Section):
    """How the model learns. A recipe without `train` evaluates an untouched model."""

    epochs: Real = Field(3.0, gt=0)
    """passes over the training rows; parts of one are possible"""
    steps: Count | None = None
    """optimizer steps; overrides epochs"""
    batch_size: Count | None = None
    """examples per optimizer step, over all processes; 32 where tokens_per_batch is not given either"""
    tokens_per_batch: Count | None = None
    """tokens per optimizer step, in place of batch_size"""
    micro_batch: Count | Literal["auto"] = "auto"
    """examples computed at once: fits a step into memory, never changes the result"""
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    """adafactor keeps far less state per weight, and takes its rate relative to a weight's size"""
    learning_rate: Real | None = Field(None, gt=0)
    """the peak; null: the adapter's (LoRA: 5e-4), 3e-5 without one, 1e-3 for adafactor"""
    warmup: Real = Field(0.06, ge=0)
    """steps until the peak: a share of all steps if below 1, else their number"""
    schedule: Literal["linear", "cosine", "constant", "inverse_sqrt"] = "linear"
    """how the learning rate falls after the warm-up"""
    weight_decay: Real = Field(0.01, ge=0)
    """the optimizer's decoupled decay, per step and learning rate"""
    clip: Real | None = Field(1.0, gt=0)
    """the largest norm of a step's gradient; null: any"""
    seed: Size = 13
    """every random draw follows from it"""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """what the forward pass computes in"""
    gradient_checkpointing: bool = Field(False, strict=True)
    """keep less for the backward pass and compute it again: less memory, about a third more time, the same result"""
    compile: bool = Field(False, strict=True)
    """have torch.compile translate the model first: minutes at the start, faster steps on a GPU"""
    evaluate_every: Distance | None = None
    """how often the validation rows are looked at: 500 (steps), "2 epochs"; null: each epoch"""
    checkpoint_every: Distance | None = None
    """how often a checkpoint is written, beside that of the best weights; as evaluate_every"""
    keep: Count = 2
    """the newest checkpoints that are kept, beside the best"""
    best: Name | None = None
    """which score chooses the best weights; null: the task's first"""
    early_stopping: EarlyStopping | None = None
    """evaluations without a better score before training ends, or {patience, min_delta}; null: never"""
    freeze: str | Sequence[str] | None = Field(None, min_length=1)
    """what stays as it is: embeddings, layers[:6], decoder.layers[0], a regex over full names, or a list of these"""
    class_weights: Literal["balanced"] | dict[str, Annotated[Real, Field(ge=0)]] | None = None
    """weights of the labels in the loss: balanced (rarer ones weigh more), or label: weight"""
    label_smoothing: Real = Field(0.0, ge=0, lt=1)
    """probability taken from the right label and shared among all"""
    focal: Real | None = Field(None, gt=0)
    """labels: the focal loss's exponent (2 in its paper); what the model is sure of weighs less"""

    @model_validator(mode="before")
    @classmethod
    def _batch(cls, data: Any) -> Any:
        given = isinstance(data, Mapping) and {data.get("batch_size"), data.get("tokens_per_batch")} != {None}
        return data if given or not isinstance(data, Mapping) else {**data, "batch_size": ROWS_PER_STEP}

    @field_validator("freeze")
    @classmethod
    def _patterns(cls, freeze: str | Sequence[str] | None) -> str | Sequence[str] | None:
        for pattern in [freeze] if isinstance(freeze, str) else freeze or ():
            compiled(pattern)
        return freeze if freeze is None or isinstance(freeze, str) else tuple(freeze)

    @field_validator("tokens_per_batch")
    @classmethod
    def _one_unit(cls, tokens: int | None, info: ValidationInfo) -> int | None:
        if tokens is not None and info.data.get("batch_size") is not None:
            raise complain("stands beside batch_size; set one of the two, or the other to null")
        return tokens

    @field_validator("precision", mode="before")
    @classmethod
    def _no_half(cls, precision: Any) -> Any:
        if precision in ("float16", "fp16", "half", "16"):
            raise complain(
                "float16 is not offered: T5's and other models' numbers grow beyond what it can hold; "
                "take bfloat16, which is as small, or float32"
            )
        return precision

    @field_validator("focal")
    @classmethod
    def _one_loss(cls, focal: float | None, info: ValidationInfo) -> float | None:
        if focal is not None and info.data.get("label_smoothing"):
            raise complain("stands beside label_smoothing, which makes the model unsure on purpose; leave one out")
        return focal

    @field_validator("warmup")
    @classmethod
    def _share_or_steps(cls, warmup: float) -> float:
        if warmup >= 1 and not warmup.is_integer():
            raise complain(f"must be a share below 1 or a whole number of steps, is {warmup:g}")
        return warmup
