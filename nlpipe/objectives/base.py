"""The contract between a task and a model, in neutral words.

A task hands over a Query (and, in training, a gold); an objective turns it into Rows, Rows into a Batch, the
model's outputs into one raw answer per row, and the raw answers of one example into an Answer:

    query, gold --encode--> rows --collate--> batch --compute--> outputs --loss--> a sum over terms
                                              batch --predict--> raws   --join---> answer

Nothing here imports torch when the module is imported: plugins load it on every start.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from nlpipe.errors import DataError, UnsupportedError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from nlpipe.generation import Generation
    from nlpipe.runners.base import Runner
    from nlpipe.task import Family
    from nlpipe.tokens import Tokenizers

Gold = Any
"""The right answer in the objective's own terms; each objective's docstring says which."""

Raw = Any
"""What a model says of one row: a numpy array, or a str where it writes text."""


@dataclass(frozen=True, slots=True)
class Query:
    """The base of what a task asks of an objective."""

    @property
    def contents(self) -> tuple[str, ...]:
        """The texts that a model reads of it: what a new model's tokenizer learns from."""
        return ()


@dataclass(frozen=True, slots=True)
class Text(Query):
    """One text, or a pair of texts, to be labelled; or a text and `choices`, sentences that each are judged by it."""

    first: str
    second: str | None = None
    choices: tuple[str, ...] = ()

    @property
    def contents(self) -> tuple[str, ...]:
        """One or both, and the choices."""
        return (self.first, *([] if self.second is None else [self.second]), *self.choices)


@dataclass(frozen=True, slots=True)
class Words(Query):
    """A text whose words are to be labelled one by one.

    `words` are half-open character spans of `text`, in order and without overlap; what lies between them (spaces)
    is read and gets no label.
    """

    text: str
    words: tuple[tuple[int, int], ...]

    @property
    def contents(self) -> tuple[str, ...]:
        """The text."""
        return (self.text,)


@dataclass(frozen=True, slots=True)
class Passage(Query):
    """A question, and the text that its answer is to be cut from."""

    question: str
    context: str

    @property
    def contents(self) -> tuple[str, ...]:
        """Both."""
        return self.question, self.context


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a prompt, and what may become of it where the whole is too long.

    `whole` is never shortened. `pieces` is read in pieces at sentence borders (`model.long: window`), an answer
    to each; its end is cut where that is asked for (`truncate`). `start` and `end` are never read in pieces:
    `truncate` cuts the start, or the end.
    """

    text: str
    long: Literal["whole", "pieces", "start", "end"] = "whole"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: `role` is `system`, `user` or `assistant`."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Prompt(Query):
    """What text is written or judged after: segments one after the other, or the turns of a conversation.

    `chat` makes the segments the user's turn in the model's own chat template. `choices` asks how likely each
    of them is as the answer instead of having one written. `languages` are the codes of source and target,
    for models that are told them (mBART, M2M100, NLLB); `taught` those of all rows that the model learnt or learns
    from: one that is told none is asked for no other. With `each_turn` not only the gold is learnt of a
    conversation, but each of the assistant's turns after those before it.
    """

    segments: tuple[Segment, ...] = ()
    messages: tuple[Message, ...] = ()
    choices: tuple[str, ...] = ()
    chat: bool = False
    languages: tuple[str | None, str | None] | None = None
    taught: tuple[str | None, str | None] | None = None
    each_turn: bool = False

    @property
    def contents(self) -> tuple[str, ...]:
        """Segments and choices, or turns."""
        return *(one.text for one in self.segments), *(turn.text for turn in self.messages), *self.choices


@dataclass(frozen=True, slots=True)
class Texts(Query):
    """One or more texts to be turned into vectors; `role` decides which prompt is put before each of them."""

    texts: tuple[str, ...]
    role: Literal["query", "document"] | None = None

    @property
    def contents(self) -> tuple[str, ...]:
        """The texts."""
        return self.texts


@dataclass(frozen=True, slots=True)
class Blanked(Query):
    """A text with blanks to be filled: one between each two of `parts`; `top` fillings for each, 100 at most."""

    parts: tuple[str, ...]
    top: int = 5

    @property
    def contents(self) -> tuple[str, ...]:
        """What stands around the blanks."""
        return self.parts


@dataclass(frozen=True, slots=True)
class Answer:
    """The base of what an objective answers."""


@dataclass(frozen=True, slots=True)
class Generated(Answer):
    """A text that a model wrote.

    `ended` is False where the answer reached its greatest length before the model, or a stop string, ended
    it. `token_log_probabilities` are natural logarithms, one per token written (the end token is one), under
    the model itself: without temperature, penalties or other settings of generation; `log_probability` is
    their sum. `pieces` has the answers to the pieces of a prompt too long to be read at once, which `text`
    joins; it is empty for a prompt read whole. `again` is then the same prompt about these answers, for who wants
    one answer to the whole; None where they are not half as long as what they answer, so that asking on would
    not end. `alternatives` are further answers, the next best first.
    """

    text: str
    ended: bool
    token_log_probabilities: tuple[float, ...] = ()
    pieces: tuple[Generated, ...] = ()
    again: Prompt | None = None
    alternatives: tuple[Generated, ...] = ()

    @property
    def log_probability(self) -> float:
        """The sum over tokens."""
        return sum(self.token_log_probabilities)


@dataclass(frozen=True, slots=True)
class Likelihoods(Answer):
    """How likely each choice is as the answer: natural logarithms, float64 [pieces, choices].

    Summed over the tokens of a choice, of which it has `tokens` [choices]. One row for a prompt read whole.
    """

    log_probabilities: np.ndarray
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TextLikelihood(Answer):
    """How likely a text is by itself: ln p of each of its tokens, in order, without special tokens.

    Given the tokens before it from a model that writes, given all that is not hidden with it from one that fills
    blanks: the second kind of sum is no probability of the text (a pseudo-likelihood), but ranks texts as one does.
    """

    token_log_probabilities: tuple[float, ...]

    @property
    def log_probability(self) -> float:
        """The sum over tokens."""
        return sum(self.token_log_probabilities)


@dataclass(frozen=True, slots=True)
class Filling:
    """What may stand in a blank: its text, its probability in [0, 1], and the token's number."""

    text: str
    score: float
    token: int


@dataclass(frozen=True, slots=True)
class Fillings(Answer):
    """For each blank of a text what may stand in it, the likeliest first."""

    blanks: tuple[tuple[Filling, ...], ...]


@dataclass(frozen=True, slots=True)
class Probabilities(Answer):
    """A number per label, float64 [labels].

    Probabilities that sum to 1 (single label), independent ones (multi-label), or the predicted number
    itself as [1] (regression).
    """

    values: np.ndarray


@dataclass(frozen=True, slots=True)
class WordScores(Answer):
    """Log-probabilities of each word's labels, float64 [words, labels], and the words' character spans.

    They are independent of each other: which sequences of labels make sense is the task's to know.
    """

    values: np.ndarray
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Vectors(Answer):
    """A vector per text of the query, float32 [texts, dim]; `measure` is how they are to be compared."""

    values: np.ndarray
    measure: Literal["cosine", "dot"] = "cosine"


@dataclass(frozen=True, slots=True)
class Row:
    """What one pass of the model reads: a whole text, one window of it, or one of several choices.

    `parts` rows belong to one example and follow each other; `part` counts them from 0. `weight` is the row's
    share of its example's loss. `seen` is (tokens read, tokens there) of the whole example. `target` and
    `place` are the objective's own: what training compares with, and where in the example the row lies.
    """

    ids: list[int]
    types: list[int] | None = None
    target: Any = None
    weight: float = 1.0
    part: int = 0
    parts: int = 1
    seen: tuple[int, int] = (0, 0)
    place: Any = None
    beside: int = 0

    @property
    def length(self) -> int:
        """How many positions of a batch the row needs: its tokens, and those `beside` them in a decoder."""
        return len(self.ids) + self.beside


@dataclass(slots=True)
class Batch:
    """Rows as arrays or tensors: `inputs` go to the model's forward, `targets` to the loss.

    `collate` may leave numpy's arrays, which every back end reads; `to` makes PyTorch's tensors of them. `terms` is how
    many terms the loss sums over: the training loop divides by the whole step's terms, so that the gradient does not
    depend on how the step was cut into batches. `given` counts, where a decoder is to
    judge answers, each row's tokens before its answer: those that rows share need to be read once.
    """

    inputs: dict[str, Any]
    targets: dict[str, Any]
    terms: float
    rows: Sequence[Row]
    tok: Tokenizers | None = None  # of objectives that write: where text ends, and how it is read
    given: Sequence[int] = ()

    def to(self, device: torch.device | str) -> Batch:
        """The same batch as tensors on `device`."""
        import torch

        return replace(
            self,
            inputs={name: torch.as_tensor(values, device=device) for name, values in self.inputs.items()},
            targets={name: torch.as_tensor(values, device=device) for name, values in self.targets.items()},
        )


@dataclass(frozen=True, slots=True)
class Window:
    """How much of a text one pass reads, and what becomes of the rest.

    `max_length` counts tokens, special ones included. `long`: `window` reads everything in overlapping
    windows (`overlap` tokens shared by neighbours), `truncate` cuts and says so, `error` refuses.
    """

    max_length: int = 512
    long: Literal["window", "truncate", "error"] = "window"
    overlap: int = 0

    def spans(self, tokens: int, special: int) -> list[tuple[int, int]]:
        """The half-open token ranges that cover `tokens` content tokens, `special` more in each window.

        At least one range, also for no tokens at all. Raises DataError under `long: error`, and
        UnsupportedError where a window has no room for content.
        """
        room = self.max_length - special
        if room <= self.overlap:
            raise UnsupportedError(
                f"max_length {self.max_length} leaves no room: {special} special or fixed tokens and an overlap "
                f"of {self.overlap}. Raise model.max_length or lower model.overlap."
            )
        if tokens <= room:
            return [(0, tokens)]
        if self.long == "error":
            raise DataError(
                f"the text has {tokens + special} tokens, the model reads {self.max_length}. "
                "Set model.long to 'window' (read all of it in windows) or 'truncate' (cut it)."
            )
        if self.long == "truncate":
            return [(0, room)]
        starts = range(0, tokens - self.overlap, room - self.overlap)
        return [(start, min(start + room, tokens)) for start in starts]


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """How a model is asked. Frozen: every worker and every call may share one.

    Class variables: `head` names transformers' class for it (`SequenceClassification` …), `peft` PEFT's task type
    (None where PEFT has none); `embeds` is true where the Answer is Vectors; `train_options` names the fields that
    a recipe's `train:` may set, `call_options` those that a single call may; `writes` is true where the Answer is
    text. A `head` of None asks for the bare backbone (of an encoder-decoder its encoder). `pooled` is true where
    the head reads one state per row, false where it reads each token's; `both_sides` where it needs to see what
    follows a token, so that a decoder's attention is opened. `own_labels` is true where the head's outputs are the
    model's own labels, whatever the task's are. `one_graph` is true where an answer needs `compute` and nothing else of
    a runner, so that the model can be exported as one graph. `reentrant` is true where `compute` keeps nothing in the
    model (no hook, no switch), so that several threads may be in it at once; a class that writes `compute` says so.
    """

    head: ClassVar[str | None]
    peft: ClassVar[str | None]
    embeds: ClassVar[bool] = False
    train_options: ClassVar[frozenset[str]] = frozenset()
    call_options: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[bool] = False
    pooled: ClassVar[bool] = True
    both_sides: ClassVar[bool] = False
    own_labels: ClassVar[bool] = False
    one_graph: ClassVar[bool] = True
    reentrant: ClassVar[bool] = False

    window: Window = field(default_factory=Window)

    @property
    def outputs(self) -> int | None:
        """How many outputs the head needs; None where the model's own vocabulary decides."""
        return None

    @abstractmethod
    def encode(self, query: Any, gold: Gold, tok: Tokenizers) -> list[Row]:
        """The only step from text to ids. Pure and thread-safe; a row per window, text or choice.

        `gold` is None when answering.
        """

    @property
    def side_by_side(self) -> bool:
        """Whether several threads may compute at once: what the class says that wrote `compute`, or one below it."""
        for kind in type(self).__mro__:
            if "reentrant" in vars(kind):
                return bool(kind.reentrant)  # type: ignore[attr-defined]
            if "compute" in vars(kind):
                return False
        return False

    @property
    def couples_examples(self) -> bool:
        """Whether an example's loss depends on its neighbours in the batch, so that the batch cannot be cut."""
        return False

    @property
    def width(self) -> int:
        """How many components the model's states must have at least; 1 unless the objective names a number."""
        return 1

    @classmethod
    def fits(cls, labels: Sequence[str]) -> bool:
        """Whether a head with these labels of its own can be asked so."""
        return True

    def head_labels(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """The names of the head's outputs: the task's labels."""
        return labels

    def placed(self, family: Family, stated: Mapping[str, Any]) -> Self:
        """What is left open decided by what the model's folder states of itself, else by the family."""
        return self

    def recorded(self) -> dict[str, Any]:
        """The fields that `placed` decided, as JSON: the Card keeps them."""
        return {}

    def settle(self, golds: Sequence[Gold]) -> Self:
        """The objective with training options that depend on all golds (class weights) worked out."""
        return self

    def arrange(self, rows: Iterable[Row], rng: np.random.Generator) -> Iterator[Row]:
        """Training only: the rows of all examples put together anew for an epoch (packing); by default as they are.

        What comes out may stand together otherwise in each epoch, but its number and lengths may not change: the
        steps of all epochs are planned by the first. A row with `part` 0 begins an example.
        """
        return iter(rows)

    @abstractmethod
    def collate(self, rows: Sequence[Row], tok: Tokenizers, *, answering: bool, rng: np.random.Generator) -> Batch:
        """Rows as one batch, without torch where rows are answered: exported models need none.

        Random masks are drawn here from `rng`, so they are new in each epoch.
        """

    @abstractmethod
    def compute(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Forward and pooling, traceable: exactly what an export exports."""

    @abstractmethod
    def loss(self, outputs: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        """The SUM of the loss over `batch.terms` terms, never the model's own mean."""

    @abstractmethod
    def predict(self, runner: Runner, batch: Batch, call: Mapping[str, Any]) -> list[Raw]:
        """One raw answer per row, computed by `runner`; `call` has the options of this call."""

    @abstractmethod
    def join(self, query: Any, rows: Sequence[Row], raws: Sequence[Raw]) -> Answer:
        """All rows of one example as its answer. No model; decoding comes after joining."""

    def with_training(self, options: Mapping[str, Any]) -> Self:
        """The objective with a recipe's training options; raises UnsupportedError for those it does not know."""
        given = {name: value for name, value in options.items() if value is not None}
        foreign = sorted(set(given) - self.train_options)
        if foreign:
            known = ", ".join(sorted(self.train_options)) or "none"
            raise UnsupportedError(
                f"train.{foreign[0]} does nothing for {type(self).__name__}; leave it out. Its options: {known}"
            )
        return replace(self, **given)

    def with_call(self, options: Mapping[str, Any]) -> Self:
        """The objective with the options of one call, which are among `call_options`."""
        return replace(self, **options)

    def with_generation(self, settings: Generation | None) -> Self:
        """The objective with a recipe's `generation:`; raises UnsupportedError where it writes no text."""
        if settings is not None and settings.given:
            raise UnsupportedError(
                f"generation.{next(iter(settings.given))} does nothing for {type(self).__name__}, which writes no "
                "text; leave `generation` out"
            )
        return self

    def stream(self, runner: Runner, query: Any, tok: Tokenizers) -> Iterator[str]:
        """The answer in pieces of text as they are written. Raises UnsupportedError where none is written."""
        raise UnsupportedError(f"{type(self).__name__} writes no text, so there is nothing to stream")


def parts(rows: Sequence[Row]) -> list[Row]:
    """The rows of one example, numbered."""
    return [replace(row, part=index, parts=len(rows)) for index, row in enumerate(rows)]
