"""The task `generative_qa`: an answer in words, to a question with a context or without one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from nlpipe.details import Detail, written
from nlpipe.errors import DataError
from nlpipe.metrics import Metric
from nlpipe.objectives import CausalText, Objective, Seq2SeqText, prompts
from nlpipe.objectives.base import Answer as Given
from nlpipe.objectives.base import Generated, Prompt, Query
from nlpipe.results import Text
from nlpipe.task import Family, Format, Record, Task, TaskOptions
from nlpipe_qa.examples import texts_alone
from nlpipe_qa.scores import BY_CHARACTERS, EXACT_MATCH, F1, OLD
from nlpipe_qa.squad import SQUAD

FIELDS = ("question", "context")


class Question(Record):
    """A question; the text that answers it, where it is not to be answered from what the model knows."""

    question: str
    context: str | None = None


class RightAnswers(Record):
    """The right answers' texts; where SQuAD has each begin in the context is of no use here."""

    text: tuple[str, ...] = ()
    answer_start: tuple[int, ...] = ()


class QuestionAnswered(Question):
    """A question with its right answers; the first is learnt, and each counts when answers are scored."""

    answers: RightAnswers

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        """One text, or a list of them, in place of SQuAD's mapping."""
        return texts_alone(data)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        empty = next((at for at, text in enumerate(self.answers.text) if not text.strip()), None)
        if empty is not None:
            raise ValueError(f"answers.text[{empty}] is empty; a question without an answer has no texts at all ([])")
        return self


class Settings(TaskOptions):
    """What stands beside `name: generative_qa` in a recipe."""

    template: str = Field(
        "question: {question} context: {context}",
        description="what is asked, with {question} and {context} in it (T5's: Raffel et al. 2020, appendix D.15)",
    )
    open_template: str = Field(
        "question: {question}", description="the same for a row without a context (Roberts et al. 2020)"
    )
    decoder_template: str = Field(
        "{context}\n\nQuestion: {question}\nAnswer:", description="for decoders, which go on from its end"
    )
    decoder_open_template: str = Field(
        "Question: {question}\nAnswer:", description="for decoders and rows without a context"
    )
    no_answer: str | None = Field(
        None, description="what is learnt, and told as no answer, where a row has none; null: such rows are refused"
    )
    chat: bool = Field(False, description="put what is asked as the user's turn into the model's chat template")
    script: Literal["squad-2.0", "squad-1.1"] = Field(
        "squad-2.0", description="the official script that scores follow; they differ in answers without any word"
    )
    words: Literal["spaces", "characters"] = Field(
        "spaces",
        description="what the scores take for words: what stands between spaces, as SQuAD's script, or each character "
        "of scripts without spaces (Chinese, Japanese, Thai …), as MLQA's",
    )

    @field_validator("template", "decoder_template")
    @classmethod
    def _names_both(cls, template: str) -> str:
        return prompts.check(template, FIELDS, needed=FIELDS)

    @field_validator("open_template", "decoder_open_template")
    @classmethod
    def _names_the_question(cls, template: str) -> str:
        return prompts.check(template, ["question"], needed=["question"])


class GenerativeQuestionAnswering(Task[Question, QuestionAnswered, Text, Settings]):
    """Answers in the model's own words."""

    name: ClassVar[str] = "generative_qa"
    summary: ClassVar[str] = "an answer in words, with a context or without one"
    Input = Question
    Example = QuestionAnswered
    Result = Text
    Options = Settings
    metrics: ClassVar[tuple[Metric, ...]] = (F1, EXACT_MATCH)
    formats: ClassVar[Mapping[str, Format]] = {"squad": SQUAD}
    said_as: ClassVar[Mapping[str, Sequence[str]]] = {"text": ("answer", "prediction_text")}
    right_lines: ClassVar[str | None] = "answers"

    def __init__(self, labels: Sequence[str] = (), options: Settings | None = None) -> None:
        super().__init__(labels, options)
        if self.options.script == "squad-1.1":
            self.metrics = OLD  # type: ignore[misc]  # a class variable for all who set no such option
        if self.options.words == "characters":
            self.metrics = BY_CHARACTERS  # type: ignore[misc]  # a class variable for all who set no such option

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

    def query(self, given: Question, objective: Objective) -> Query:
        """The question in its template, with its context in pieces where it is too long."""
        if not given.question.strip():
            raise DataError("`question` is empty")
        decoder, options = isinstance(objective, CausalText), self.options
        if given.context is None or not given.context.strip():
            template = options.decoder_open_template if decoder else options.open_template
            return Prompt(prompts.fill(template, {"question": given.question}), chat=options.chat)
        template = options.decoder_template if decoder else options.template
        values = {"question": given.question, "context": given.context}
        return Prompt(prompts.fill(template, values, {"context": "pieces"}), chat=options.chat)

    def gold(self, example: QuestionAnswered, objective: Objective) -> str:
        """The first right answer."""
        if example.answers.text:
            return example.answers.text[0]
        if self.options.no_answer is None:
            raise DataError(
                f"the question {example.question!r} has no answer. Leave such rows out, or say what is to be answered "
                "then: task.no_answer"
            )
        return self.options.no_answer

    def result(self, answer: Given, given: Question) -> Text:
        """The answer; to a context read in pieces the one that its piece makes likeliest, by its mean token."""
        assert isinstance(answer, Generated)
        if answer.pieces:
            found = [piece for piece in answer.pieces if self._said(piece)] or list(answer.pieces)
            answer = max(found, key=lambda one: one.log_probability / max(len(one.token_log_probabilities), 1))
        others = tuple(Text(self._said(o), o.ended, o.log_probability) for o in answer.alternatives)
        return Text(self._said(answer), answer.ended, answer.log_probability, others)

    def _said(self, answer: Generated) -> str:
        text = answer.text.strip()
        return "" if self.options.no_answer is not None and text == self.options.no_answer.strip() else text

    def baselines(
        self, train: Sequence[QuestionAnswered], examples: Sequence[QuestionAnswered]
    ) -> Mapping[str, Sequence[Text]]:
        """The first answer that training has most often, whatever the question."""
        ((text, _),) = Counter(next(iter(example.answers.text), "") for example in train).most_common(1)
        return {"commonest": [Text(text, True, None)] * len(examples)}

    def details(self, results: Sequence[Text], examples: Sequence[QuestionAnswered]) -> Iterable[Detail]:
        """Lengths, and the answers least like the right ones."""

        def asked(example: QuestionAnswered) -> str:
            return "\n".join(filter(None, (example.question, example.context)))

        return written(F1, results, examples, asked, lambda e: e.answers.text or ("",))

    @classmethod
    def hub_task(cls, family: Family) -> str:
        """What the Hub calls it."""
        return "text-generation"

    @classmethod
    def samples(cls) -> Sequence[QuestionAnswered]:
        """With a context, and without one."""
        return (
            QuestionAnswered(
                question="Where was Ada Lovelace born?",
                context="Ada Lovelace was born in London in December 1815.",
                answers=RightAnswers(text=("London", "in London")),
            ),
            QuestionAnswered(question="How many legs has a spider?", answers=RightAnswers(text=("eight", "8"))),
        )
