"""The one door to captum: integrated gradients over a model's input vectors, and what hiding tokens does.

Knows rows, batches and objectives; what is explained is handed in as a function of the objective's outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlpipe import batching
from nlpipe.errors import UnsupportedError
from nlpipe.inspect.numbers import Floats
from nlpipe.objectives.base import Batch, Objective, Row
from nlpipe.tokens import Tokenizers

PASS = 16  # how many interpolated copies are computed at once

Measure = Callable[[Mapping[str, Tensor]], Tensor]
"""The outputs of n copies of a batch to the number that is explained, [n]."""


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """Integrated gradients of each token of each row, [rows, tokens].

    `value` is the explained number, `baselines` [groups] what it is with the words of a group of rows hidden. The
    attributions of a group sum to `value - baseline` up to `error`: the largest difference of any group, as a share
    of its |value - baseline|.
    """

    attributions: Floats
    value: float
    baselines: tuple[float, ...]
    error: float
    steps: int


class Vectors:
    """An objective's computation as a function of the input vectors of its rows.

    The vectors are put in where the model looks them up, so that everything behind (positions, scaling, pooling,
    a decoder that reads the same tokens) stays the model's own.
    """

    def __init__(self, model: torch.nn.Module, objective: Objective, rows: Sequence[Row], tok: Tokenizers) -> None:
        self.model = model
        self.objective = objective
        self.rows = list(rows)
        self.batch = objective.collate(rows, tok, answering=True, rng=batching.rng(0, "answer")).to("cpu")
        self.tables = _tables(model)
        ids = self.batch.inputs["input_ids"]
        with torch.no_grad():
            self.given: Tensor = self.tables[0](ids)  # [rows, tokens, width]
            blank = _blank(self.tables[0], tok)
        kept = torch.zeros_like(ids, dtype=torch.bool)
        special = torch.tensor(sorted(_special(tok)))
        kept |= torch.isin(ids, special) | (self.batch.inputs["attention_mask"] == 0)
        self.free = ~kept  # what can be hidden: neither special tokens nor padding
        self.hidden = torch.where(self.free.unsqueeze(-1), blank, self.given)

    def measure(self, vectors: Tensor, measure: Measure) -> Tensor:
        """The explained number for each of [n, rows, tokens, width], [n]."""
        copies = len(vectors)
        inputs = {key: value.repeat(copies, *[1] * (value.dim() - 1)) for key, value in self.batch.inputs.items()}
        batch = Batch(inputs, {}, 0.0, self.rows * copies)
        with _replaced(self.tables, inputs["input_ids"], vectors.flatten(0, 1)):
            outputs = self.objective.compute(self.model, batch)
        return measure(outputs)

    def without(self, places: Sequence[Sequence[tuple[int, int]]], measure: Measure) -> Floats:
        """The explained number with the tokens at each list of (row, token) hidden, [lists]."""
        found: list[float] = []
        for start in range(0, len(places), PASS):
            chosen = places[start : start + PASS]
            vectors = self.given.expand(len(chosen), *self.given.shape).clone()
            for copy, own in enumerate(chosen):
                for row, token in own:
                    vectors[copy, row, token] = self.hidden[row, token]
            with torch.no_grad():
                found += self.measure(vectors, measure).tolist()
        return np.array(found)

    def gradients(
        self, measure: Measure, groups: Sequence[Sequence[int]], *, steps: int, enough: float, most: int
    ) -> Gradients:
        """Integrated gradients (Sundararajan et al. 2017), with twice the steps until the error is `enough`.

        Each of `groups` are rows whose words are hidden together, the other rows left as they are. At most `most`
        steps. Raises UnsupportedError where captum is not installed.
        """
        found = [self._group(measure, rows, steps, enough, most) for rows in groups]
        return Gradients(
            attributions=np.sum([one.attributions for one in found], axis=0),
            value=found[0].value,
            baselines=tuple(base for one in found for base in one.baselines),
            error=max(one.error for one in found),
            steps=max(one.steps for one in found),
        )

    def _group(self, measure: Measure, rows: Sequence[int], steps: int, enough: float, most: int) -> Gradients:
        without = self.given.clone()
        without[list(rows)] = self.hidden[list(rows)]
        method = _method(lambda flat: self.measure(flat.reshape(-1, *self.given.shape), measure))
        given, hidden = self.given.flatten(0, 1)[None], without.flatten(0, 1)[None]
        with torch.no_grad():
            ends = self.measure(torch.stack([self.given, without]), measure)
        value, baseline = (float(end) for end in ends)
        while True:
            found = method.attribute(given, hidden, n_steps=steps, internal_batch_size=PASS)[0].sum(-1).detach()
            missed = abs(float(found.sum()) - (value - baseline))
            error = missed / max(abs(value - baseline), 1e-9)
            if error <= enough or 2 * steps > most:
                break
            steps *= 2
        shaped = found.reshape(self.given.shape[:2]).double().numpy()
        return Gradients(attributions=shaped, value=value, baselines=(baseline,), error=error, steps=steps)


def _method(forward: Callable[[Tensor], Tensor]) -> Any:
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise UnsupportedError("this view needs captum: pip install 'nlpipe[inspect]'") from error
    return IntegratedGradients(forward)


def _tables(model: Any) -> list[torch.nn.Module]:
    """The modules in which the model looks up its input tokens; BART has one for each half over the same weights."""
    base = getattr(model, "base", model)
    first = base.get_input_embeddings()
    same = [module for module in model.modules() if getattr(module, "weight", None) is first.weight]
    return [first, *(m for m in same if m is not first and isinstance(m, torch.nn.Embedding))]


def _blank(table: Any, tok: Tokenizers) -> Tensor:
    """What a hidden token is replaced by: the vector of the tokenizer's blank, or else the mean of all vectors.

    Not zeros: they are far from anything that a model with RMS norms can read.
    """
    mask = tok.source.upstream.mask_token_id
    if mask is not None:
        found: Tensor = table(torch.tensor(mask))
        return found
    known = torch.arange(min(len(table.weight), len(tok.source.upstream)))
    return torch.stack([part.mean(0) for part in table(known).split(len(known))]).mean(0)


def _special(tok: Tokenizers) -> set[int]:
    return set(tok.source.upstream.all_special_ids) - {tok.source.upstream.unk_token_id}


@contextmanager
def _replaced(tables: Sequence[torch.nn.Module], ids: Tensor, vectors: Tensor) -> Iterator[None]:
    """Looking up `ids` gives `vectors`; looking them up one place later, as a decoder does, gives them there."""

    def put(module: torch.nn.Module, given: tuple[Any, ...], found: Tensor) -> Tensor:
        asked = given[0]
        if not isinstance(asked, Tensor) or asked.shape != ids.shape:
            return found
        if torch.equal(asked, ids):
            return vectors
        if torch.equal(asked[:, 1:], ids[:, :-1]):
            return torch.cat([found[:, :1], vectors[:, :-1]], dim=1)
        return found

    handles = [table.register_forward_hook(put) for table in tables]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
