"""Summarization: a document in few words. A document longer than the model reads is summarised by parts, and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from pydantic import Field, field_validator

from nlpipe.details import Detail, written
from nlpipe.errors import DataError
from nlpipe.metrics import Metric
from nlpipe.objectives import CausalText, Objective, Seq2SeqText, prompts
from nlpipe.objectives.base import Answer, Generated, Prompt, Query
from nlpipe.objectives.pieces import sentences
from nlpipe.results import Text
from nlpipe.task import Family, Record, Task, TaskOptions
from nlpipe_summarization.scores import ROUGE_1, ROUGE_2, ROUGE_L, ROUGE_LSUM, Lines, Script, rouge


class Given(Record):
    """A document."""

    document: str


class Summarized(Given):
    """A document with its summary, or with several that are as good; the first is learnt."""

    summary: str | None = None
    summaries: tuple[str, ...] | None = None

    @property
    def references(self) -> tuple[str, ...]:
        """All right summaries."""
        return self.summaries if self.summaries is not None else () if self.summary is None else (self.summary,)


class Settings(TaskOptions):
    """What stands beside `name` in a recipe."""

    template: str = Field(
        "{document}", description="what is asked, with {document} in it: T5's 'summarize: {document}'"
    )
    decoder_template: str = Field(
        "{document}\n\nTL;DR:", description="the same for decoders (TL;DR: Radford et al. 2019, section 3.6)"
    )
    chat: bool = Field(False, description="put what is asked as the user's turn into the model's chat template")

    stemmer: bool = Field(
        True, description="ROUGE of stemmed words (Porter's stemmer, for English), as published figures are"
    )
    words: Script = Field(
        "auto",
        description="the words of ROUGE: rouge_score's own, which are of ASCII letters alone (ascii), or of any script "
        "(unicode); auto: ascii for rows mostly written in such letters",
    )
    lines: Lines = Field(
        "given",
        description="what rougeLsum takes for a sentence: the lines of a text as they are, as rouge_score does, or "
        "(split) the sentences of a text without line ends",
    )

    @field_validator("template", "decoder_template")
    @classmethod
    def _names_the_document(cls, template: str) -> str:
        return prompts.check(template, ["document"], needed=["document"])


class Summarization(Task[Given, Summarized, Text, Settings]):
    """A document in few words."""

    name: ClassVar[str] = "summarization"
    summary: ClassVar[str] = "a document in a few sentences"
    Input = Given
    Example = Summarized
    Result = Text
    Options = Settings
    metrics: ClassVar[tuple[Metric, ...]] = (ROUGE_L, ROUGE_1, ROUGE_2, ROUGE_LSUM)
    said_as: ClassVar[Mapping[str, Sequence[str]]] = {"text": ("summary", "generated_summary")}
    right_lines: ClassVar[str | None] = "summaries"

    def __init__(self, labels: Sequence[str] = (), options: Settings | None = None) -> None:
        super().__init__(labels, options)
        chosen = self.options
        if (chosen.stemmer, chosen.words, chosen.lines) != (True, "auto", "given"):
            found = rouge(stemmer=chosen.stemmer, script=chosen.words, lines=chosen.lines)
            self.metrics = found  # type: ignore[misc]  # a class variable for all who set no such option

    @classmethod
    def row(cls) -> Mapping[Family, tuple[type[Objective], ...]]:
        """Pairs, encoders made into one, and decoders by a prompt."""
        return {
            Family.ENCODER: (Seq2SeqText,),
            Family.DECODER: (CausalText,),
            Family.ENCODER_DECODER: (Seq2SeqText,),
        }

    def objective(self, kind: type[Objective]) -> Objective:
        """One that writes."""
        return CausalText() if kind is CausalText else Seq2SeqText()

    def query(self, given: Given, objective: Objective) -> Query:
        """The document in its template; pieces of it where it is too long."""
        if not given.document.strip():
            raise DataError("`document` is empty: there is nothing to summarise")
        template = self.options.decoder_template if isinstance(objective, CausalText) else self.options.template
        segments = prompts.fill(template, {"document": given.document}, {"document": "pieces"})
        return Prompt(segments, chat=self.options.chat)

    def gold(self, example: Summarized, objective: Objective) -> str:
        """The first summary."""
        if not example.references or not all(text.strip() for text in example.references):
            raise DataError("`summary` (or `summaries`, a list) is missing or empty")
        return example.references[0]

    def result(self, answer: Answer, given: Given) -> Text | Query:
        """The summary; of a document read in parts, the summary of the parts' summaries (map-reduce)."""
        assert isinstance(answer, Generated)
        if answer.again is not None:
            return answer.again
        others = tuple(Text(o.text.strip(), o.ended, o.log_probability) for o in answer.alternatives)
        return Text(answer.text.strip(), answer.ended, answer.log_probability, others)

    def baselines(self, train: Sequence[Summarized], examples: Sequence[Summarized]) -> Mapping[str, Sequence[Text]]:
        """The document's first sentences, as many as a summary usually has: lead-1, lead-3."""
        counts = Counter(len(sentences(example.references[0])) for example in train if example.references)
        k = min((count for count, times in counts.items() if times == max(counts.values())), default=1)
        return {f"lead-{k}": [Text("".join(sentences(e.document)[:k]).strip(), True, None) for e in examples]}

    def plain(self, result: Text, example: Summarized) -> tuple[str, list[str]]:
        """The text, and all that are right."""
        return result.text, list(example.references)

    def details(self, results: Sequence[Text], examples: Sequence[Summarized]) -> Iterable[Detail]:
        """Lengths, and the summaries least like the right ones."""
        return written(ROUGE_L, results, examples, lambda e: str(e.document), lambda e: e.references)

    @classmethod
    def hub_task(cls, family: Family) -> str:
        """What the Hub calls it."""
        return "summarization"

    @classmethod
    def samples(cls) -> Sequence[Summarized]:
        """Two short notices."""
        return (
            Summarized(
                document="The bridge over the river will be closed from Monday. Workers are to replace the old "
                "railings, which takes two weeks. Cars can use the northern bridge; walkers may take the ferry.",
                summary="The bridge is closed for two weeks from Monday.",
            ),
            Summarized(
                document="Rain is expected in the morning. In the afternoon the sky clears from the west, and it stays "
                "dry until Sunday.",
                summaries=("Rain first, then dry until Sunday.", "A wet morning, then sunshine."),
            ),
        )
