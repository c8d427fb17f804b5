"""Translation: a text in another language. Sentence by sentence where it is longer than the model reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from nlpipe.details import Detail, written
from nlpipe.errors import DataError
from nlpipe.metrics import Metric
from nlpipe.objectives import CausalText, Objective, Seq2SeqText, prompts
from nlpipe.objectives.base import Answer, Generated, Prompt, Query
from nlpipe.results import Text
from nlpipe.task import Family, Record, Task, TaskOptions
from nlpipe_translation.scores import BLEU, CHRF, CHRF_WORDS, TER, references, scores

FIELDS = ("source", "source_lang", "target_lang")


class Given(Record):
    """A text to translate; the languages where rows differ in them, or the model is told them."""

    source: str
    source_lang: str | None = None
    target_lang: str | None = None


class Translated(Given):
    """A text with its translation, or several that are as good; the first is learnt."""

    target: str | None = None
    targets: tuple[str, ...] | None = None

    @property
    def references(self) -> tuple[str, ...]:
        """All right translations."""
        return self.targets if self.targets is not None else () if self.target is None else (self.target,)


class Settings(TaskOptions):
    """What stands beside `name` in a recipe."""

    source_lang: str | None = Field(
        None, description="language code of all sources that name none: en_XX, eng_Latn, en"
    )
    target_lang: str | None = Field(None, description="language code of all targets that name none")
    template: str = Field(
        "{source}",
        description="what is asked, with {source} in it, also {source_lang} and {target_lang}: T5's 'translate English "
        "to German: {source}'",
    )
    decoder_template: str = Field(
        "{source}\n=>", description="the same for decoders, which need to see where the text ends"
    )
    chat: bool = Field(False, description="put what is asked as the user's turn into the model's chat template")
    codes: bool = Field(
        True,
        description="tell the languages to a model that has tokens for them (mBART, M2M100, NLLB), and refuse rows in "
        "others than those of a model that has none",
    )

    tokenize: Literal["auto", "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none", "flores101", "flores200"] = (
        Field("auto", description="the words of BLEU, by sacreBLEU's name; auto: as sacreBLEU by language, else 13a")
    )
    lowercase: bool = Field(False, description="BLEU and chrF of lower-cased texts, as sacreBLEU's --lowercase")

    @field_validator("template", "decoder_template")
    @classmethod
    def _names_the_source(cls, template: str) -> str:
        return prompts.check(template, FIELDS, needed=["source"])


class Translation(Task[Given, Translated, Text, Settings]):
    """The same in another language."""

    name: ClassVar[str] = "translation"
    summary: ClassVar[str] = "a text in another language"
    Input = Given
    Example = Translated
    Result = Text
    Options = Settings
    metrics: ClassVar[tuple[Metric, ...]] = (BLEU, CHRF, TER)
    further: ClassVar[tuple[Metric, ...]] = (CHRF_WORDS,)
    said_as: ClassVar[Mapping[str, Sequence[str]]] = {"text": ("translation", "target")}
    right_lines: ClassVar[str | None] = "targets"
    call_options: ClassVar[frozenset[str]] = frozenset({"source_lang", "target_lang"})

    def __init__(self, labels: Sequence[str] = (), options: Settings | None = None) -> None:
        super().__init__(labels, options)
        chosen = self.options
        if chosen.lowercase or chosen.tokenize != "auto" or chosen.target_lang:
            found = scores(chosen.tokenize, chosen.target_lang, lowercase=chosen.lowercase)
            self.metrics = found  # type: ignore[misc]  # a class variable for all who set no such option
        self._taught = chosen.source_lang, chosen.target_lang  # whatever a call asks for

    @classmethod
    def row(cls) -> Mapping[Family, tuple[type[Objective], ...]]:
        """Pairs, encoders made into one, and decoders by a prompt."""
        return {
            Family.ENCODER: (Seq2SeqText,),
            Family.DECODER: (CausalText,),
            Family.ENCODER_DECODER: (Seq2SeqText,),
        }

    @classmethod
    def options_in(cls, examples: Sequence[Translated], options: Settings) -> Settings:
        """The languages, where none is given and all rows that name one name the same: the model's, from then on."""
        found = {name: {getattr(example, name) for example in examples} - {None} for name in FIELDS[1:]}
        one = {name: codes.pop() for name, codes in found.items() if len(codes) == 1 and getattr(options, name) is None}
        return options.model_copy(update=one)

    def objective(self, kind: type[Objective]) -> Objective:
        """One that writes."""
        return CausalText() if kind is CausalText else Seq2SeqText()

    def query(self, given: Given, objective: Objective) -> Query:
        """The source in its template; pieces of it where it is too long."""
        if not given.source.strip():
            raise DataError("`source` is empty: there is nothing to translate")
        languages = given.source_lang or self.options.source_lang, given.target_lang or self.options.target_lang
        decoder = isinstance(objective, CausalText)
        template = self.options.decoder_template if decoder else self.options.template
        values = {"source": given.source, "source_lang": languages[0], "target_lang": languages[1]}
        for name in FIELDS[1:]:
            if f"{{{name}}}" in template and values[name] is None:
                raise DataError(f"`{name}` is missing, which the prompt names; give it in the row or as task.{name}")
        filled = prompts.fill(template, {k: v or "" for k, v in values.items()}, {"source": "pieces"})
        told = self.options.codes and f"{{{FIELDS[2]}}}" not in template  # else the prompt says it
        return Prompt(
            filled, chat=self.options.chat, languages=languages if told else None, taught=self._taught if told else None
        )

    def gold(self, example: Translated, objective: Objective) -> str:
        """The first translation. An empty one would teach silence."""
        if not example.references or not all(text.strip() for text in example.references):
            raise DataError("`target` (or `targets`, a list) is missing or empty")
        return example.references[0]

    def result(self, answer: Answer, given: Given) -> Text:
        """The translation; that of all pieces in their order."""
        assert isinstance(answer, Generated)
        others = tuple(Text(o.text.strip(), o.ended, o.log_probability) for o in answer.alternatives)
        return Text(answer.text.strip(), answer.ended, answer.log_probability, others)

    def baselines(self, train: Sequence[Translated], examples: Sequence[Translated]) -> Mapping[str, Sequence[Text]]:
        """The source as it is: names and numbers are the same in many languages."""
        return {"source": [Text(example.source, True, None) for example in examples]}

    def plain(self, result: Text, example: Translated) -> tuple[str, list[str]]:
        """The text, and all that are right."""
        return result.text, list(example.references)

    def details(self, results: Sequence[Text], examples: Sequence[Translated]) -> Iterable[Detail]:
        """Lengths, and the translations least like the right ones."""
        return written(CHRF, results, examples, lambda e: str(e.source), references)

    @classmethod
    def hub_task(cls, family: Family) -> str:
        """What the Hub calls it."""
        return "translation"

    @classmethod
    def samples(cls) -> Sequence[Translated]:
        """Three sentences from English to German."""
        return (
            Translated(source="Good morning.", target="Guten Morgen."),
            Translated(source="Where is the station?", target="Wo ist der Bahnhof?"),
            Translated(source="The soup is cold.", target="Die Suppe ist kalt."),
        )
