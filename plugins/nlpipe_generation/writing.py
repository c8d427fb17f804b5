"""Text generation: what comes after a prompt, or the next turn of a conversation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from nlpipe.details import Detail, written
from nlpipe.errors import DataError
from nlpipe.metrics import Metric
from nlpipe.objectives import CausalText, Objective, Seq2SeqText, prompts
from nlpipe.objectives.base import Answer, Generated, Message, Prompt, Query
from nlpipe.results import Text
from nlpipe.task import Family, Record, Task, TaskOptions
from nlpipe_generation.scores import CHRF, DISTINCT, EXACT_MATCH, references

PLAIN = "{prompt}"


class Turn(Record):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Given(Record):
    """A prompt, or the turns of a conversation whose next is to be written."""

    prompt: str | None = None
    messages: tuple[Turn, ...] | None = None


class Written(Given):
    """An input with the right text, or several; a conversation's last turn is it where no `completion` is given."""

    completion: str | None = None
    completions: tuple[str, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _last_turn(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and isinstance(data.get("completions"), list):
            data = {**data, "completions": tuple(data["completions"])}
        turns = data.get("messages") if isinstance(data, Mapping) else None
        if not turns or not isinstance(turns, list | tuple):
            return data
        last = turns[-1]
        given = data.get("completion") is not None or data.get("completions") is not None
        if not given and isinstance(last, Mapping) and last.get("role") == "assistant":
            return {**data, "messages": tuple(turns[:-1]), "completion": last.get("content")}
        return {**data, "messages": tuple(turns)}  # pydantic takes what comes out of here for Python, not for JSON

    @property
    def references(self) -> tuple[str, ...]:
        """All right texts; the first is learnt."""
        one = () if self.completion is None else (self.completion,)
        return one if self.completions is None else tuple(self.completions)


class Settings(TaskOptions):
    """What stands beside `name` in a recipe."""

    template: str = Field(PLAIN, description="what is asked, with {prompt} in it; not for messages")
    system: str | None = Field(None, description="what the system says first, in a conversation")
    chat: bool = Field(False, description="put the prompt as the user's turn into the model's chat template")
    turns: Literal["all", "last"] = Field(
        "all", description="of a conversation: learn each of the assistant's turns after those before it, or the last"
    )
    token_log_probabilities: bool = Field(False, description="answer with the log-probability of each token")

    @field_validator("template")
    @classmethod
    def _names_the_prompt(cls, template: str) -> str:
        return prompts.check(template, ["prompt"], needed=["prompt"])


class Writing(Task[Given, Written, Text, Settings]):
    """What comes next."""

    name: ClassVar[str] = "generation"
    summary: ClassVar[str] = "text after a prompt or a conversation"
    Input = Given
    Example = Written
    Result = Text
    Options = Settings
    metrics: ClassVar[tuple[Metric, ...]] = (EXACT_MATCH, CHRF)
    further: ClassVar[tuple[Metric, ...]] = DISTINCT
    said_as: ClassVar[Mapping[str, Sequence[str]]] = {"text": ("completion", "answer")}
    right_lines: ClassVar[str | None] = "completions"
    call_options: ClassVar[frozenset[str]] = frozenset({"token_log_probabilities"})

    @classmethod
    def row(cls) -> Mapping[Family, tuple[type[Objective], ...]]:
        """Decoders go on; pairs, and encoders made into one, answer."""
        return {
            Family.ENCODER: (Seq2SeqText,),
            Family.DECODER: (CausalText,),
            Family.ENCODER_DECODER: (Seq2SeqText,),
        }

    def objective(self, kind: type[Objective]) -> Objective:
        """A bare prompt is gone on from as it is; behind a template's words an answer begins a new one."""
        if kind is CausalText:
            return CausalText(lead="" if self.options.template == PLAIN else " ")
        return Seq2SeqText()

    def query(self, given: Given, objective: Objective) -> Query:
        """The prompt in its template, or the conversation."""
        if (given.prompt is None) == (given.messages is None):
            both = "both" if given.prompt is not None else "neither of them"
            raise DataError(f"a row has a `prompt` or `messages`; here is {both}")
        system = () if self.options.system is None else (Message("system", self.options.system),)
        if given.messages is not None:
            return self._conversation(given.messages, system)
        # What is gone on from is the end of a prompt; what is answered, its beginning.
        cut: prompts.Long = "start" if isinstance(objective, CausalText) else "end"
        segments = prompts.fill(self.options.template, {"prompt": given.prompt or ""}, {"prompt": cut})
        if self.options.chat or system:
            text = "".join(segment.text for segment in segments)
            return Prompt(messages=(*system, Message("user", text)))
        return Prompt(segments)

    def _conversation(self, turns: Sequence[Turn], system: tuple[Message, ...]) -> Prompt:
        if not turns:
            raise DataError("`messages` is empty; it needs a turn to answer")
        if turns[-1].role == "assistant":
            raise DataError("the last of `messages` is the assistant's; there is nothing to answer")
        told = tuple(Message(turn.role, turn.content) for turn in turns)
        whole = told if told[0].role == "system" else (*system, *told)
        return Prompt(messages=whole, each_turn=self.options.turns == "all")

    def gold(self, example: Written, objective: Objective) -> str:
        """The completion as it stands."""
        if not example.references or not all(example.references):
            raise DataError("`completion` (or `completions`, a list) is missing or empty")
        return example.references[0]

    def result(self, answer: Answer, given: Given) -> Text:
        """The text, with further ones where several were asked for."""
        assert isinstance(answer, Generated)
        bare = given.prompt is not None and self.options.template == PLAIN and not self.options.chat
        found = self._text(answer, strip=not bare)
        others = tuple(self._text(other, strip=not bare) for other in answer.alternatives)
        return Text(found.text, found.ended, found.log_probability, others, found.token_log_probabilities)

    def _text(self, answer: Generated, *, strip: bool) -> Text:
        """As a result; the space between a bare prompt and what goes on from it is part of the text."""
        tokens = answer.token_log_probabilities if self.options.token_log_probabilities else ()
        return Text(answer.text.strip() if strip else answer.text, answer.ended, answer.log_probability, (), tokens)

    def baselines(self, train: Sequence[Written], examples: Sequence[Written]) -> Mapping[str, Sequence[Text]]:
        """The completion that training has most often, whatever the prompt."""
        ((text, _),) = Counter(next(iter(example.references), "") for example in train).most_common(1)
        return {"commonest": [Text(text, True, None)] * len(examples)}

    def plain(self, result: Text, example: Written) -> tuple[str, list[str]]:
        """The text, and all that are right."""
        return result.text, list(example.references)

    def details(self, results: Sequence[Text], examples: Sequence[Written]) -> Iterable[Detail]:
        """Lengths, and the texts least like the right ones."""
        return written(CHRF, results, examples, _asked, references)

    @classmethod
    def hub_task(cls, family: Family) -> str:
        """What the Hub calls it."""
        return "text-generation"

    @classmethod
    def samples(cls) -> Sequence[Written]:
        """A continuation, an instruction and a conversation."""
        return (
            Written(prompt="The sun went down behind", completion=" the hills."),
            Written(prompt="Name three primary colours.", completion="Red, yellow and blue."),
            Written(
                messages=(
                    Turn(role="user", content="I have a dog called Rex."),
                    Turn(role="assistant", content="What a fine name!"),
                    Turn(role="user", content="What is my dog called?"),
                ),
                completion="Rex.",
            ),
        )


def _asked(example: Written) -> str:
    """The prompt, or the conversation turn by turn."""
    turns = "\n".join(f"{turn.role}: {turn.content}" for turn in example.messages or ())
    return example.prompt if example.prompt is not None else turns
