"""The third view: how a model knows which word comes first, and what another order changes."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from nlpipe import upstream
from nlpipe.inspect.numbers import Floats, cosines, grouped
from nlpipe.inspect.reading import WORD, Reading
from nlpipe.inspect.subject import Subject, load
from nlpipe.inspect.view import PICTURE, View, plain
from nlpipe.inspect.views.embeddings import states

SHOWN = 64  # how many positions a picture has

KINDS = {
    "learned": "a learned vector for each position is added to the word's (Devlin et al. 2019)",
    "sinusoidal": "waves of many lengths are added to the word's vector (Vaswani et al. 2017)",
    "rotary": "queries and keys are turned by an angle that grows with the position (Su et al. 2021)",
    "alibi": "attention is lowered in proportion to the distance, by a slope for each head (Press et al. 2022)",
    "relative bias": "a learned number for each distance and head is added to attention (Raffel et al. 2020)",
    "relative vectors": "attention also compares words with vectors for distances (He et al. 2021)",
    "none": "nothing here adds positions; an order shows only through what reads left to right",
}


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """One way in which a model knows positions.

    `picture` is, by `shows`: `likeness` [positions, positions], the cosine of the vectors of two positions; `waves`
    [positions, dimensions], the values themselves (of a rotary scheme the cosine of each pair's angle); `bias`
    [heads, distances], what is added to attention at each of `distances` (tokens from the query to the key).
    """

    kind: str
    where: str
    explains: str
    shows: str
    picture: Floats
    distances: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Positions(View):
    """A model's schemes, and the same words in another order.

    `moved` is [layers, words]: 1 minus the cosine of a word's state in `text` with its state in `other`, at the input
    and after each layer. 0 means that the model does not notice. Only words that have the same ids in both texts
    are there: some tokenizers write a word at the beginning otherwise.
    """

    what: ClassVar[str] = "positions"

    schemes: tuple[Scheme, ...]
    text: str
    other: str
    words: tuple[str, ...]
    moved: Floats

    @property
    def size(self) -> int:
        """The words."""
        return len(self.words)

    def picture(self, first: int) -> dict[str, Any]:
        """Everything, up to 200 words."""
        shown = slice(first - 1, first - 1 + PICTURE)
        schemes = [plain(scheme) | {"picture": plain(scheme.picture.round(4))} for scheme in self.schemes]
        return {
            "schemes": schemes,
            "text": self.text,
            "other": self.other,
            "words": self.words[shown],
            "of": len(self.words),
            "moved": plain(self.moved[:, shown].round(9)),
            "first": first,
        }


def positions(model: str | Path | Subject, text: str, *, seed: int | None = None) -> Positions:
    """Which schemes a model has, and what it makes of the words in the opposite order (`seed`: in a random one).

    Raises DataError for a text that is empty or too long.
    """
    subject = load(model)
    subject.read(text)  # an empty or too long one is refused before anything is computed
    names = [match[0] for match in WORD.finditer(text)]
    order = list(range(len(names)))[::-1]
    if seed is not None:
        random.Random(seed).shuffle(order)
    one = subject.read(" ".join(names) or text)
    two = subject.read(" ".join(names[at] for at in order) or text)
    places = {word: place for place, word in enumerate(order)}
    kept = [at for at in range(len(names)) if _alike(one, at, two, places[at])]
    notes = [] if len(names) > 1 else ["one word has only one order"]
    if len(kept) < len(names):
        notes.append(f"{len(names) - len(kept)} of {len(names)} words have other ids in the other order: left out")
    return Positions(
        model=subject.name,
        notes=tuple(notes),
        schemes=tuple(schemes(subject)),
        text=one.text,
        other=two.text,
        words=tuple(names[at] for at in kept),
        moved=_moved(subject, one, two, [(at, places[at]) for at in kept]),
    )


def _alike(one: Reading, here: int, two: Reading, there: int) -> bool:
    """Whether a word has the same ids in both readings."""
    ids, others = ([r.ids[p] for p in r.words[at].pieces] for r, at in ((one, here), (two, there)))
    return bool(ids) and ids == others


def _moved(subject: Subject, one: Reading, two: Reading, pairs: list[tuple[int, int]]) -> Floats:
    """[layers, words]."""
    before, after = states(subject, one), states(subject, two)
    if not pairs:
        return np.zeros((len(before), 0))
    here = [one.words[at].pieces for at, _ in pairs]
    there = [two.words[at].pieces for _, at in pairs]
    layers = zip(before, after, strict=True)
    return np.stack([1 - np.diag(cosines(grouped(a, here), grouped(b, there))) for a, b in layers])


def schemes(subject: Subject) -> Iterator[Scheme]:
    """What the model's modules and config say; one of kind `none` where they say nothing."""
    found = [*_tables(subject), *_rotary(subject), *_alibi(subject), *_relative(subject)]
    yield from found or [
        Scheme(
            kind="none", where=subject.config.model_type, explains=KINDS["none"], shows="likeness", picture=np.eye(1)
        )
    ]


_TABLE = re.compile(r"(^|\.)(position_embeddings?|embed_positions|wpe)$")


def _tables(subject: Subject) -> Iterator[Scheme]:
    """Vectors that are added: learned, or waves."""
    for name, module in subject.body.named_modules():
        weight = getattr(module, "weight", None)
        if not _TABLE.search(name) or weight is None or weight.dim() != 2:
            continue
        table = weight.detach().float().numpy()[_before(module) :][:SHOWN]
        waves = "Sinusoidal" in type(module).__name__ or bool(getattr(subject.config, "sinusoidal_pos_embds", False))
        kind = "sinusoidal" if waves else "learned"
        yield Scheme(
            kind=kind,
            where=name,
            explains=KINDS[kind],
            shows="waves" if waves else "likeness",
            picture=table if waves else cosines(table),
        )


def _before(module: Any) -> int:
    """Rows of a position table that no position uses: OPT and BART skip two, RoBERTa all up to its padding's."""
    padding = getattr(module, "padding_idx", None)
    own = getattr(module, "offset", 0)
    return int(own or 0) if own or padding is None or "Sinusoidal" in type(module).__name__ else int(padding) + 1


def _rotary(subject: Subject) -> Iterator[Scheme]:
    """Angles, from the frequencies that the model keeps."""
    for name, buffer in subject.body.named_buffers():
        if not name.endswith("inv_freq") or "original" in name:
            continue
        angles = np.arange(SHOWN)[:, None] * buffer.float().numpy()[None, :]
        yield Scheme(kind="rotary", where=name, explains=KINDS["rotary"], shows="waves", picture=np.cos(angles))


def slopes(heads: int) -> Floats:
    """ALiBi's slope for each head, [heads] (Press et al. 2022, section 3, and their code for other counts than 2^n)."""
    power = 2 ** math.floor(math.log2(heads))
    first: Floats = 2.0 ** (-8 / power * np.arange(1, power + 1))
    if power == heads:
        return first
    between = 2.0 ** (-8 / (2 * power) * np.arange(1, 2 * (heads - power) + 1, 2))
    found: Floats = np.concatenate([first, between])
    return found


def _alibi(subject: Subject) -> Iterator[Scheme]:
    config = subject.config
    inner = getattr(config, "attn_config", None)
    if not (config.model_type == "bloom" or getattr(config, "alibi", False) or getattr(inner, "alibi", False)):
        return
    distances = tuple(range(-SHOWN + 1, 1))
    heads = getattr(config, "n_head", None) or config.num_attention_heads
    picture = slopes(heads)[:, None] * np.array(distances)[None, :]
    yield Scheme(
        kind="alibi",
        where="attention",
        explains=KINDS["alibi"],
        shows="bias",
        picture=picture,
        distances=distances,
    )


def _relative(subject: Subject) -> Iterator[Scheme]:
    """Numbers (T5, MPNet) or vectors (DeBERTa) for distances."""
    for name, module in subject.body.named_modules():
        if hasattr(module, "relative_attention_bias") and isinstance(
            module.relative_attention_bias, torch.nn.Embedding
        ):
            with torch.inference_mode():
                found = upstream.relative_bias(module, SHOWN)
            if found is not None:
                bias = found.float().numpy()
                yield Scheme(
                    kind="relative bias",
                    where=f"{name}.relative_attention_bias",
                    explains=KINDS["relative bias"],
                    shows="bias",
                    picture=np.concatenate([bias[:, -1, :], bias[:, 0, 1:]], axis=-1),
                    distances=tuple(range(-SHOWN + 1, SHOWN)),
                )
        if name.endswith("rel_embeddings") and isinstance(module, torch.nn.Embedding):
            table = module.weight.detach().float().numpy()
            middle = len(table) // 2
            near = table[max(0, middle - SHOWN // 2) : middle + SHOWN // 2]
            yield Scheme(
                kind="relative vectors",
                where=name,
                explains=KINDS["relative vectors"],
                shows="likeness",
                picture=cosines(near),
            )
