"""A vector for each of one or more texts: what is compared, ranked, mined and clustered.

Knows how vectors are pooled and how training compares them; not what their likeness means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from nlpipe.errors import UnsupportedError
from nlpipe.objectives.base import Batch, Gold, Objective, Raw, Row, Texts, Vectors, parts

if TYPE_CHECKING:
    import numpy as np
    import torch

    from nlpipe.runners.base import Runner
    from nlpipe.task import Family
    from nlpipe.tokens import Tokenizers

Pooling = Literal["auto", "mean", "cls", "last", "weighted_mean"]
Loss = Literal["cosine_mse", "cosent", "in_batch"]
Measure = Literal["cosine", "dot"]

# Mean over tokens: Reimers and Gurevych 2019 (Sentence-BERT), table 6. A decoder's later states have seen
# more, so they weigh more: Muennighoff 2022 (SGPT), section 3.
_POOLING: dict[str, Pooling] = {"encoder": "mean", "decoder": "weighted_mean", "encoder-decoder": "mean"}


@dataclass(frozen=True, slots=True)
class Place:
    """Which of its example's texts a row belongs to, from 0, and how many of that text's tokens it has."""

    text: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Embedding(Objective):
    """Reads Texts, answers Vectors.

    A long text is read in windows; its vector is the mean of theirs, weighted by their tokens, in training as
    in answering. `pooling` makes one vector of a row's states: their mean, the first token's, the last one's,
    or a mean in which the i-th token weighs i. `auto`, and None in `normalize` and `prompts`, take what the
    model's folder states, else what suits the family. `prompts` are put before a text by its role. `dims` keeps
    the first components alone, before normalising (Kusupati et al. 2022, "Matryoshka Representation Learning").

    The gold of `cosine_mse` is the cosine that a pair should have, of `cosent` any number that is larger
    for pairs more alike; of `in_batch` None where the query's second text is the match of its first, or Texts:
    the match and then texts that do not match (hard negatives). All three losses compare by cosine, as their
    counterparts in sentence-transformers do: CosineSimilarityLoss, CoSENTLoss, MultipleNegativesRankingLoss,
    with scale = 1 / `temperature`. With `matryoshka`, the loss is their sum over these numbers of
    components, times `matryoshka_weights` (all 1 if empty), as in MatryoshkaLoss.
    """

    head: ClassVar[None] = None
    peft: ClassVar[str | None] = "FEATURE_EXTRACTION"
    embeds: ClassVar[bool] = True
    reentrant: ClassVar[bool] = True

    pooling: Pooling = "auto"
    normalize: bool | None = None
    prompts: Mapping[str, str] | None = None
    measure: Measure | None = None
    dims: int | None = None
    loss_name: Loss = "cosine_mse"
    temperature: float = 0.05
    matryoshka: tuple[int, ...] = ()
    matryoshka_weights: tuple[float, ...] = ()

    @property
    def couples_examples(self) -> bool:
        """Whether other examples of the batch are what an example is compared with."""
        return self.loss_name != "cosine_mse"

    @property
    def width(self) -> int:
        """As many as the largest number of components that learn to do alone."""
        return max(self.matryoshka, default=1)

    def placed(self, family: Family, stated: Mapping[str, Any]) -> Self:
        """With pooling, normalising, prompts and measure decided."""
        return replace(
            self,
            pooling=stated.get("pooling", _POOLING[family]) if self.pooling == "auto" else self.pooling,
            normalize=stated.get("normalize", True) if self.normalize is None else self.normalize,
            prompts=dict(stated.get("prompts", {})) if self.prompts is None else self.prompts,
            measure=self.measure or stated.get("measure", "cosine"),
        )

    def recorded(self) -> dict[str, Any]:
        """What `placed` decided."""
        return {
            "pooling": self.pooling,
            "normalize": self.normalize,
            "prompts": dict(self.prompts or {}),
            "measure": self.measure,
        }

    def encode(self, query: Texts, gold: Gold, tok: Tokenizers) -> list[Row]:
        """A row per window of each text; texts that come as the gold follow the query's."""
        asked = [(text, query.role) for text in query.texts]
        if isinstance(gold, Texts):
            asked += [(text, gold.role) for text in gold.texts]
        source, layout = tok.source, tok.source.single
        target = None if isinstance(gold, Texts) else gold
        rows, read, there = [], 0, 0
        for number, (text, role) in enumerate(asked):
            ids = source.encode(self._prompt(role) + text).ids
            spans = self.window.spans(len(ids), layout.special)
            read, there = read + spans[-1][1], there + len(ids)
            for start, end in spans:
                laid, types = layout.lay(ids[start:end])
                rows.append(
                    Row(
                        ids=laid or [source.fallback_id],
                        types=(types or [0]) if source.segments else None,
                        target=target,
                        place=Place(number, max(1, end - start)),
                    )
                )
        return parts([replace(row, weight=1 / len(rows), seen=(read, there)) for row in rows])

    def _prompt(self, role: str | None) -> str:
        prompts = self.prompts or {}
        return prompts.get(role or "default", "")

    def settle(self, golds: Sequence[Gold]) -> Self:
        """Unchanged. Raises UnsupportedError for golds that the loss cannot learn from."""
        if self.loss_name == "in_batch":
            without = sum(isinstance(gold, Texts) and not gold.texts for gold in golds)
            wanted = "a matching text"
        else:
            without = sum(gold is None or isinstance(gold, Texts) for gold in golds)
            wanted = "a number"
        if without:
            raise UnsupportedError(
                f"the loss {self.loss_name} learns from {wanted} per row, and {without} of {len(golds)} training rows "
                "have none"
            )
        return self

    def collate(self, rows: Sequence[Row], tok: Tokenizers, *, answering: bool, rng: np.random.Generator) -> Batch:
        """Padded on the right. `terms` counts examples; CoSENT is one term, over all pairs of the batch's pairs."""
        from nlpipe import arrays

        inputs = arrays.readings([row.ids for row in rows], [row.types for row in rows], tok.source.pad_id)
        if answering:
            return Batch(inputs, {}, 0.0, rows)
        import torch

        table = _Grouped.of(rows)
        targets = {name: torch.tensor(values) for name, values in table.columns().items()}
        if self.loss_name != "in_batch":
            targets["target"] = torch.tensor([float(row.target) for row in rows if row.part == 0])
        return Batch(inputs, targets, 1.0 if self.loss_name == "cosent" else float(len(table.first)), rows)

    def compute(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """`vectors`, [rows, width]: pooled, not yet joined or normalised."""
        from nlpipe import tensors

        states = model(**batch.inputs).last_hidden_state
        return {"vectors": tensors.pool(states, batch.inputs["attention_mask"], self.pooling)}

    def loss(self, outputs: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        """The loss of the whole batch, summed over its terms and over `matryoshka`."""
        from nlpipe import tensors

        vectors, given = outputs["vectors"].float(), batch.targets
        texts = tensors.joined(vectors, given["text"], given["share"])
        width = texts.size(1)
        total = texts.new_zeros(())
        sizes = self.matryoshka or (width,)
        for size, weight in zip(sizes, self.matryoshka_weights or (1.0,) * len(sizes), strict=True):
            _check_dims(size, width)
            total = total + weight * self._one_loss(texts[:, :size], given)
        return total

    def _one_loss(self, texts: torch.Tensor, given: Mapping[str, torch.Tensor]) -> torch.Tensor:
        from nlpipe import tensors

        first, second = texts[given["first"]], texts[given["second"]]
        if self.loss_name == "cosine_mse":
            return tensors.cosine_mse(first, second, given["target"])
        if self.loss_name == "cosent":
            return tensors.cosent(first, second, given["target"], self.temperature)
        others = texts[given["others"]]
        return tensors.in_batch(first, second, others, given["asked"], given["same"], self.temperature)

    def predict(self, runner: Runner, batch: Batch, call: Mapping[str, Any]) -> list[Raw]:
        """A pooled vector per row, float32 [width]."""
        return list(runner.compute(self, batch)["vectors"])

    def join(self, query: Texts, rows: Sequence[Row], raws: Sequence[Raw]) -> Vectors:
        """The token-weighted mean of each text's windows, cut to `dims` and normalised."""
        import numpy as np

        sums = np.zeros((len(query.texts), len(raws[0])), dtype=np.float32)
        tokens = np.zeros((len(query.texts), 1), dtype=np.float32)
        for row, raw in zip(rows, raws, strict=True):
            sums[row.place.text] += raw * np.float32(row.place.tokens)
            tokens[row.place.text] += np.float32(row.place.tokens)
        values = sums / tokens
        if self.dims is not None:
            _check_dims(self.dims, values.shape[1])
            values = values[:, : self.dims]
        if self.normalize is not False:
            # As torch.nn.functional.normalize: a vector of zeros stays one.
            values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
        return Vectors(values, self.measure or "cosine")


@dataclass(frozen=True, slots=True)
class _Grouped:
    """A training batch's rows by text and example.

    `text` and `share` say of each row whose part it is and how much of it; `first`, `second` and `others` are
    texts' numbers: the query and the match of each example, and all hard negatives. `asked` says which of `first` and
    `same` which of (`second`, then `others`) reads alike: equal texts have equal numbers.
    """

    text: list[int]
    share: list[float]
    first: list[int]
    second: list[int]
    others: list[int]
    asked: list[int]
    same: list[int]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> _Grouped:
        text: list[int] = []
        roles: list[list[int]] = [[], [], []]
        read: dict[int, tuple[int, ...]] = {}
        number = -1
        for index, row in enumerate(rows):
            if row.part == 0 or row.place.text != rows[index - 1].place.text:
                number += 1
                roles[min(row.place.text, 2)].append(number)
            text.append(number)
            read[number] = (*read.get(number, ()), *row.ids)
        totals: dict[int, int] = dict.fromkeys(text, 0)
        for at, row in zip(text, rows, strict=True):
            totals[at] += row.place.tokens
        share = [row.place.tokens / totals[at] for at, row in zip(text, rows, strict=True)]
        known: dict[tuple[int, ...], int] = {}
        alike = [[known.setdefault(read[at], len(known)) for at in texts] for texts in roles]
        return cls(text, share, roles[0], roles[1], roles[2], alike[0], alike[1] + alike[2])

    def columns(self) -> dict[str, Any]:
        """As numpy arrays, so that empty ones keep their type."""
        import numpy as np

        names = ("text", "first", "second", "others", "asked", "same")
        return {name: np.array(getattr(self, name), dtype=np.int64) for name in names} | {
            "share": np.array(self.share, dtype=np.float32)
        }


def _check_dims(wanted: int, width: int) -> None:
    if wanted > width:
        raise UnsupportedError(f"{wanted} dimensions are asked for, and this model's vectors have {width}")
