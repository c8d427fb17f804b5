"""What a recipe may say of classification, and which of it an objective hears."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from nlpipe.errors import UnsupportedError
from nlpipe.objectives import CausalText, Entailment, Objective, Seq2SeqText, prompts
from nlpipe.objectives.sequence_label import Over
from nlpipe.task import TaskOptions

# Settings that only some objectives hear.
HEARD: dict[str, tuple[type[Objective], ...]] = {
    "template": (CausalText, Seq2SeqText),
    "pair_template": (CausalText, Seq2SeqText),
    "words": (CausalText, Seq2SeqText, Entailment),
    "hypothesis": (Entailment,),
}


class Settings(TaskOptions):
    """What stands beside `name: classification` in a recipe."""

    multi_label: bool = Field(False, description="any number of labels may hold; rows carry `labels`, a list")
    threshold: float = Field(
        0.5, gt=0, lt=1, description="with `multi_label`: the probability from which a label holds"
    )
    thresholds: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(
        {}, description="the same for single labels, by name; tuned on validation rows where there are any"
    )
    windows: Over = Field(
        "mean",
        description="a long text's labels: the mean of its windows' probabilities, or each label's greatest (max)",
    )
    template: str = Field(
        "{text}\nLabel:", description="what a model that writes is asked, with {text}, before the label as its answer"
    )
    pair_template: str = Field(
        "{text}\n{text_pair}\nLabel:", description="the same for a pair, with {text} and {text_pair}"
    )
    words: dict[str, str] = Field(
        {}, description="what a label is called in an answer or in `hypothesis`, where not by its name"
    )
    hypothesis: str = Field(
        "This example is {label}.",
        description="asked as Entailment: the sentence about a label, with {label}, that a text entails or not",
    )

    @field_validator("template", "pair_template")
    @classmethod
    def _names_the_texts(cls, template: str, info: ValidationInfo) -> str:
        fields = ["text"] if info.field_name == "template" else ["text", "text_pair"]
        return prompts.check(template, fields, needed=fields)

    @field_validator("hypothesis")
    @classmethod
    def _names_the_label(cls, hypothesis: str) -> str:
        return prompts.check(hypothesis, ["label"], needed=["label"])

    def check(self, kind: type[Objective]) -> None:
        """Raise UnsupportedError where an option is set that does nothing, asked in this way."""
        for name, kinds in HEARD.items():
            if kind not in kinds and getattr(self, name) != type(self).model_fields[name].default:
                raise UnsupportedError(
                    f"{name} does nothing for a model that is asked as {kind.__name__}; it is for "
                    f"{', '.join(other.__name__ for other in kinds)}. Leave it out"
                )
        if self.multi_label and kind in {CausalText, Seq2SeqText}:
            raise UnsupportedError(
                f"multi_label: as {kind.__name__} one label is written; set model.objective: SequenceLabel"
            )
