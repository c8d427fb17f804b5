"""What both tasks know of vectors: the options that a recipe sets, and how vectors are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from nlpipe.objectives import Embedding
from nlpipe.task import TaskOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

Role = Literal["query", "document", "default"]


class VectorOptions(TaskOptions):
    """How texts become vectors. What is left out comes from the model's folder, or suits its family."""

    pooling: Literal["auto", "mean", "cls", "last", "weighted_mean"] = Field(
        "auto", description="how the states of a text's tokens become its vector"
    )
    normalize: bool | None = Field(None, description="whether vectors are made one long; null: as the model states")
    prompts: dict[Role, str] | None = Field(
        None, description="text put before a query, a document or any other text; null: as the model states"
    )
    measure: Literal["cosine", "dot"] | None = Field(
        None, description="how vectors are compared; null: as the model states, else cosine"
    )
    dims: int | None = Field(None, ge=1, description="keep the first components of a vector alone; null: all")
    temperature: float = Field(0.05, gt=0, description="cosines are divided by it in cosent and in_batch")
    matryoshka: tuple[int, ...] = Field((), description="numbers of first components that each learn to do alone")
    matryoshka_weights: tuple[float, ...] = Field((), description="what each of them weighs; empty: all 1")

    @field_validator("matryoshka")
    @classmethod
    def _sizes(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if any(size < 1 for size in sizes):
            raise ValueError("must be numbers from 1 on")
        return sizes

    @model_validator(mode="after")
    def _weights(self) -> VectorOptions:
        if self.matryoshka_weights and len(self.matryoshka_weights) != len(self.matryoshka):
            raise ValueError(
                f"matryoshka_weights has {len(self.matryoshka_weights)} numbers, matryoshka {len(self.matryoshka)}"
            )
        return self


def embedding(options: VectorOptions, loss: Literal["cosine_mse", "cosent", "in_batch"]) -> Embedding:
    """The objective that the options describe."""
    return Embedding(
        pooling=options.pooling,
        normalize=options.normalize,
        prompts=None if options.prompts is None else {str(role): text for role, text in options.prompts.items()},
        measure=options.measure,
        dims=options.dims,
        loss_name=loss,
        temperature=options.temperature,
        matryoshka=options.matryoshka,
        matryoshka_weights=options.matryoshka_weights,
    )


def alike(first: NDArray[np.float32], second: NDArray[np.float32], measure: str) -> NDArray[np.float32]:
    """The cosine or dot product of each of `first` [n, dim] with each of `second` [m, dim], [n, m]."""
    return _ready(first, measure) @ _ready(second, measure).T


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors made one long, so that their products are cosines; a vector of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    ready: NDArray[np.float32] = vectors / np.maximum(lengths, np.float32(1e-12))
    return ready


def _ready(vectors: NDArray[np.float32], measure: str) -> NDArray[np.float32]:
    return vectors if measure == "dot" else unit(vectors)
