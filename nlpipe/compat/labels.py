"""text-classification and zero-shot-classification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpipe.compat.base import Pipeline
from nlpipe.compat.objectives import Hypotheses, LabelLogits, Logits, softmax
from nlpipe.compat.settings import Labelling, ZeroShot
from nlpipe.errors import DataError, UnsupportedError
from nlpipe.inputs import as_text
from nlpipe.objectives.base import Objective, Query, Text
from nlpipe.objectives.entailment import Entailed


class TextClassificationPipeline(Pipeline[Labelling]):
    """Labels of texts, or of pairs of texts: `{"text": …, "text_pair": …}`."""

    @classmethod
    def asking(cls, labels: tuple[str, ...]) -> Objective:
        """The head's outputs."""
        return LabelLogits(labels=labels)

    def objective(self, settings: Labelling) -> Objective:
        """Read in windows, or cut."""
        window = self.window(cut=settings.cuts, longest=settings.max_length)
        return LabelLogits(labels=self.loaded.labels, window=window)

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """One text gives a list of one answer, unless `top_k` is said in the call: so it was."""
        settings = self.settings.over(self.kind, options)
        found = self.run(inputs, settings)
        return [found] if isinstance(inputs, str) and "top_k" not in options else found

    def query(self, value: Any, settings: Labelling) -> Query:
        """The text, or the pair."""
        if isinstance(value, Mapping):
            if unknown := [key for key in value if key not in ("text", "text_pair")]:
                raise DataError(f"a pair of texts is {{'text': …, 'text_pair': …}}, without {unknown[0]!r}")
            if "text" not in value:
                raise DataError("a pair of texts is {'text': …, 'text_pair': …}, and this has no 'text'")
            second = value.get("text_pair")
            return Text(as_text(value["text"], "text"), None if second is None else as_text(second, "text_pair"))
        if isinstance(value, list) and len(value) == 1 and _is_pair(value[0]):
            return Text(*value[0])  # as version 3 took pairs
        if isinstance(value, list | tuple):
            raise DataError("a pair of texts is {'text': …, 'text_pair': …}, not a list")
        return Text(as_text(value, "an input"))

    def told(self, found: Logits, value: Any, settings: Labelling) -> Any:
        """`label` and `score` of the best, of the `top_k` best, or of all in the model's order."""
        scores = self._scores(found, settings)
        labels = [{"label": name, "score": score} for name, score in zip(self.loaded.labels, scores, strict=True)]
        ranked = sorted(labels, key=lambda one: -one["score"])  # type: ignore[operator]
        if settings.said("top_k"):
            return ranked[: settings.top_k]
        return labels if settings.return_all_scores else ranked[0]

    def _scores(self, found: Logits, settings: Labelling) -> list[float]:
        """The mean over windows of each one's scores."""
        import numpy as np

        said = settings.function_to_apply
        function = self._function() if said in (None, "default") else said
        if function == "softmax":
            scores = softmax(found.values)
        elif function == "sigmoid":
            scores = 1 / (1 + np.exp(-found.values))
        else:
            scores = found.values
        return [float(score) for score in scores.mean(axis=0)]

    def _function(self) -> str:
        kind, count = self.loaded.config.problem_type, len(self.loaded.labels)
        if kind == "regression":
            return "none"
        return "sigmoid" if kind == "multi_label_classification" or count == 1 else "softmax"


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(one, str) for one in value)


class ZeroShotClassificationPipeline(Pipeline[ZeroShot]):
    """Any labels, by a model of inference."""

    cuts = True

    @classmethod
    def asking(cls, labels: tuple[str, ...]) -> Objective:
        """The head of a model of inference. Raises UnsupportedError where it is another's."""
        if not Hypotheses.fits(labels):
            raise UnsupportedError(
                f"zero-shot-classification needs a model of inference (trained on MNLI, say), with a label called "
                f"entailment; this one has {', '.join(labels) or 'none'}"
            )
        return Hypotheses(names=labels)

    def objective(self, settings: ZeroShot) -> Objective:
        """The text is cut where a hypothesis would not fit behind it."""
        return Hypotheses(names=self.loaded.labels, window=self.window(cut=True))

    def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any:
        """`candidate_labels` may come second, without its name."""
        if len(args) > 1 or (args and "candidate_labels" in options):
            raise UnsupportedError(
                "zero-shot-classification takes texts and candidate_labels; name the other arguments"
            )
        given = {"candidate_labels": args[0], **options} if args else options
        return self.run(inputs, self.settings.over(self.kind, given))

    def query(self, value: Any, settings: ZeroShot) -> Query:
        """The text, and the sentence about each label."""
        text = as_text(value, "an input")
        if not text:
            raise DataError("an input is empty; there is nothing to judge")
        return Text(text, choices=tuple(map(settings.hypothesis_template.format, self._labels(settings))))

    def _labels(self, settings: ZeroShot) -> list[str]:
        given, template = settings.candidate_labels, settings.hypothesis_template
        labels = [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else given
        if not labels:
            raise UnsupportedError("candidate_labels is missing or empty: name at least one label")
        if template.format(labels[0]) == template:
            raise UnsupportedError(f"hypothesis_template {template!r} has no {{}} for the label to stand in")
        return list(labels)

    def told(self, found: Entailed, value: Any, settings: ZeroShot) -> dict[str, Any]:
        """The labels by their scores, which sum to 1 unless each is judged by itself."""
        import numpy as np

        labels = self._labels(settings)
        multi = settings.multi_class if settings.multi_class is not None else settings.multi_label
        if multi or len(labels) == 1:
            scores = (1 / (1 + np.exp(found.no - found.yes))).mean(axis=0)
        else:
            scores = softmax(found.yes).mean(axis=0)
        scores = scores.astype(np.float32)  # as they were told: what rounds to the same is as good
        order = np.argsort(scores, kind="stable")[::-1]
        return {
            "sequence": value,
            "labels": [labels[at] for at in order],
            "scores": [float(scores[at]) for at in order],
        }
