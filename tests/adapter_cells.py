"""The cells of PEFT's table: a method, an objective and an architecture, as a recipe of two steps on a tiny model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nlpipe.adapter_methods import METHODS
from nlpipe.recipe import Recipe
from nlpipe.testing.tiny import family
from tests.support import labelled

FIRST = ("ba be north", "be ba", "south be ba be ba be", "ba", "north ba be ba", "be south", "ba ba be be ba", "be")

OBJECTIVES: Mapping[str, tuple[str, ...]] = {
    "SequenceLabel": ("bert", "llama", "t5", "gpt2", "marian"),
    "TokenLabel": ("bert", "llama", "t5"),
    "AnswerSpan": ("bert", "llama", "t5"),
    "Embedding": ("bert", "llama", "t5"),
    "CausalText": ("llama", "gpt2"),
    "Seq2SeqText": ("t5", "bert"),
}
"""Each objective's architectures: one of each family, GPT-2 for its transposed weights, Marian for a head of ours."""

# What a width of 32 needs; PEFT's defaults are made for 768 and more.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "adalora": {"r": 2},
    "adamss": {"r": 8, "num_subspaces": 2},
    "c3a": {"block_size": 8},
    "fourierft": {"n_frequency": 16},
    "gralora": {"r": 4, "alpha": 8},
    "miss": {"r": 4},
    "oft": {"oft_block_size": 8},
    "p_tuning": {"num_virtual_tokens": 3, "encoder_hidden_size": 16},
    "prefix_tuning": {"num_virtual_tokens": 3},
    "prompt_tuning": {"num_virtual_tokens": 3},
    "psoft": {"r": 4},
    "road": {"group_size": 8},
    "shira": {"r": 4},
    "tinylora": {"u": 4},
    "vblora": {"vector_length": 8, "num_vectors": 16},
    "waveft": {"n_frequency": 16},
}


class Cell(NamedTuple):
    """A method on an objective and an architecture."""

    method: str
    objective: str
    architecture: str

    @property
    def name(self) -> str:
        """As a test's id."""
        return "-".join(self)

    @property
    def family(self) -> str:
        """The architecture's."""
        return family(self.architecture)

    @property
    def refusal(self) -> str:
        """What the message says where the method cannot serve; empty where it can."""
        if self.architecture == "gpt2" and not METHODS[self.method].transposed:
            return "kept transposed"
        half = self.architecture == "marian" or (
            self.architecture == "t5" and self.objective not in ("SequenceLabel", "Seq2SeqText")
        )
        return "does not take" if self.method == "prefix_tuning" and half else ""

    def recipe(self, backbone: Path, out: Path, **changes: Any) -> Recipe:
        """Two steps; the adapter is saved alone where that is allowed."""
        task, rows = _rows(self.objective)
        method = METHODS[self.method]
        sections: dict[str, Any] = {
            "task": task,
            "model": {"backbone": str(backbone), "objective": self.objective, "max_length": 40},
            "adapter": {"method": self.method, **SMALL.get(self.method, {})},
            "data": {"train": rows},
            "train": {"steps": 2, "batch_size": 8, "learning_rate": 1e-2, "warmup": 0, "seed": 3},
            "run": {"threads": 1},
            "output": {"dir": str(out), "weights": "adapter" if method.saved else "merged"},
        }
        if task == "generation":
            sections["generation"] = {"max_new_tokens": 4}
        return Recipe(**(sections | changes))


CELLS = [
    Cell(method, objective, architecture)
    for objective, architectures in OBJECTIVES.items()
    for architecture in architectures
    for method in METHODS
]


def given(objective: str) -> list[Any]:
    """Inputs of unlike lengths for a cell's pipeline."""
    if objective == "AnswerSpan":
        return [{"question": "ba", "context": text} for text in FIRST]
    if objective == "Embedding":
        return [{"text_a": text, "text_b": "ba be"} for text in FIRST]
    return [*FIRST]


def _rows(objective: str) -> tuple[Any, list[dict[str, Any]]]:
    words = [text.split() for text in FIRST]
    if objective == "SequenceLabel":
        return "classification", labelled([(text, "ab"[at % 2]) for at, text in enumerate(FIRST)])
    if objective == "TokenLabel":
        return "ner", [{"tokens": w, "tags": ["B-x" if word == "ba" else "O" for word in w]} for w in words]
    if objective == "AnswerSpan":
        answers = [{"text": [w[-1]], "answer_start": [len(" ".join(w)) - len(w[-1])]} for w in words]
        return "qa", [{"question": "ba", "context": text, "answers": a} for text, a in zip(FIRST, answers, strict=True)]
    if objective == "Embedding":
        return "similarity", [{"text_a": t, "text_b": "ba be", "score": at % 2} for at, t in enumerate(FIRST)]
    return "generation", [{"prompt": text, "completion": "be ba"} for text in FIRST]
