"""text-generation, text2text-generation, summarization and translation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, TypeVar

from nlpipe.answering import DEPTH, answer
from nlpipe.compat.base import Pipeline, is_stream
from nlpipe.compat.settings import Continuing as ContinuingSettings
from nlpipe.compat.settings import Translating, Writing
from nlpipe.compat.texts import Continuing, Rendered, Rewriting, Told, asked, continued, decoded
from nlpipe.errors import DataError, UnsupportedError
from nlpipe.inputs import as_text
from nlpipe.objectives.base import Generated, Objective, Prompt, Query, Segment

WritingT = TypeVar("WritingT", bound=Writing)


class _WritingPipeline(Pipeline[WritingT]):
    """What all have in common: the prefix, and lists of answers."""

    def prefix(self, settings: Writing) -> str:
        """What is put before each input: as the call says, or the model's config for this very task (T5)."""
        if settings.prefix is not None:
            return settings.prefix
        own = (getattr(self.loaded.config, "task_specific_params", None) or {}).get(self.task) or {}
        return str(own.get("prefix") or getattr(self.loaded.config, "prefix", None) or "")


class Text2TextGenerationPipeline(_WritingPipeline[WritingT]):
    """A text for a text; one answer for each input is a list of one for a single text, and plain in a list."""

    key: ClassVar[str] = "generated"

    @classmethod
    def asking(cls, labels: tuple[str, ...]) -> Objective:
        """A pair of encoder and decoder."""
        return Rewriting()

    def objective(self, settings: WritingT) -> Objective:
        """With the call's settings of generation."""
        generation, lengths = asked(self.kind, settings, self.loaded.generation, causal=False)
        window = self.window(cut=settings.truncation not in (None, False, "do_not_truncate"))
        return Rewriting(window=window, **lengths).with_generation(generation)

    def run(self, inputs: Any, settings: WritingT) -> Any:
        """In a list each input's one answer stands by itself, without a list around it."""
        found = super().run(inputs, settings)
        if isinstance(inputs, list | tuple) and found and all(len(one) == 1 for one in found):
            return [one[0] for one in found]
        return found

    def query(self, value: Any, settings: WritingT) -> Query:
        """The prefix and the text, which may be read in pieces."""
        return Prompt((Segment(self.prefix(settings)), Segment(as_text(value, "an input"), "pieces")))

    def told(self, found: Generated, value: Any, settings: WritingT) -> list[dict[str, Any]]:
        """A mapping for each answer."""
        return [self._one(one, settings) for one in (found, *found.alternatives)]

    def _one(self, found: Generated, settings: WritingT) -> dict[str, Any]:
        pieces = found.pieces or (found,)
        if settings.return_tensors:
            import torch

            ids = [token for one in pieces if isinstance(one, Told) for token in (*one.prompt, *one.ids)]
            return {f"{self.key}_token_ids": torch.tensor(ids)}
        texts = (self._text(one, settings) for one in pieces)
        text = next(iter(texts)) if not found.pieces else " ".join(one.strip() for one in texts)
        return {f"{self.key}_text": text}

    def _text(self, found: Generated, settings: WritingT) -> str:
        assert isinstance(found, Told)
        clean = bool(settings.clean_up_tokenization_spaces)
        return decoded(self.loaded.tokenizers.target.upstream, found.ids, clean)


class SummarizationPipeline(Text2TextGenerationPipeline[Writing]):
    """Summaries. Of a document longer than the model reads, the summary of its pieces' summaries."""

    key: ClassVar[str] = "summary"

    def told(self, found: Generated, value: Any, settings: Writing) -> list[dict[str, Any]]:
        """Asked again about summaries of pieces, until they are read at once or do not get shorter."""
        objective, model = self.objective(settings), self.loaded
        for _ in range(DEPTH):
            if not found.pieces:
                break
            texts = " ".join(self._text(one, settings).strip() for one in found.pieces)
            if 2 * len(texts) > len(value):
                break
            value = texts
            query = self.query(value, settings)
            (found,) = answer(
                objective, model.runner, model.tokenizers, [(query, objective.encode(query, None, model.tokenizers))]
            )
        return super().told(found, value, settings)


class TranslationPipeline(Text2TextGenerationPipeline[Translating]):
    """Translations; `translation_xx_to_yy` names the languages for models that are told them."""

    key: ClassVar[str] = "translation"

    def query(self, value: Any, settings: Translating) -> Query:
        """With the languages, where the model has tokens for them."""
        prompt = super().query(value, settings)
        named = self.name.languages or (None, None)
        tok = self.loaded.tokenizers.target
        own = tok.languages
        languages = settings.src_lang or named[0] or own[0], settings.tgt_lang or named[1] or own[1]
        assert isinstance(prompt, Prompt)
        if tok.told_languages and None in languages:
            missing = "src_lang" if languages[0] is None else "tgt_lang"
            raise DataError(f"this model is told its languages, and {missing} is not given: pipe(text, {missing}=…)")
        return replace(prompt, languages=languages if tok.told_languages else None)


class TextGenerationPipeline(_WritingPipeline[ContinuingSettings]):
    """What a model writes behind a prompt, or as the next message of a conversation."""

    @classmethod
    def asking(cls, labels: tuple[str, ...]) -> Objective:
        """A causal model."""
        return Continuing()

    def objective(self, settings: ContinuingSettings) -> Objective:
        """With the call's settings of generation."""
        generation, lengths = asked(self.kind, settings, self.loaded.generation, causal=True)
        hole = settings.handle_long_generation is not None
        cut = settings.truncation not in (None, False, "do_not_truncate")
        window = self.window(cut=hole or cut, long="error")
        return Continuing(window=window, **lengths).with_generation(generation)

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """A prompt or a conversation gives a list of answers, a list of either a list of such lists."""
        settings = self.settings.over(self.kind, options)
        if settings.return_tensors and (settings.return_text or settings.return_full_text is not None):
            raise UnsupportedError("return_tensors goes with neither return_text nor return_full_text")
        if _is_conversation(inputs):
            return next(self.answers([inputs], settings, alone=True))
        if is_stream(inputs) and not hasattr(inputs, "__next__"):
            inputs = (inputs[at] for at in range(len(inputs)))
        return self.run(inputs, settings)

    def query(self, value: Any, settings: ContinuingSettings) -> Query:
        """The prompt behind the prefix, or the conversation as the model's template writes it."""
        if _is_conversation(value):
            return Rendered(rendered=self._rendered(value, settings))
        cut: Literal["start", "end"] = "start" if settings.handle_long_generation is not None else "end"
        return Prompt((Segment(self.prefix(settings)), Segment(as_text(value, "an input"), cut)))

    def _rendered(self, messages: Sequence[Mapping[str, Any]], settings: ContinuingSettings) -> str:
        if not getattr(self.tokenizer, "chat_template", None):
            raise UnsupportedError("this model's tokenizer has no chat template: give it a prompt of plain text")
        goes_on = self._goes_on(messages, settings)
        further = {name: getattr(settings, name) for name in ("tools", "documents") if settings.said(name)}
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    list(messages),
                    tokenize=False,
                    add_generation_prompt=not goes_on,
                    continue_final_message=goes_on,
                    **further,
                )
            )
        except Exception as error:  # jinja2's errors, which a template raises for messages that it does not take
            raise DataError(f"the model's chat template does not take these messages: {error}") from error

    @staticmethod
    def _goes_on(messages: Sequence[Mapping[str, Any]], settings: ContinuingSettings) -> bool:
        wanted = settings.continue_final_message
        return messages[-1]["role"] == "assistant" if wanted is None else wanted

    def told(self, found: Generated, value: Any, settings: ContinuingSettings) -> list[dict[str, Any]]:
        """A mapping for each answer: the prompt with what follows it, or this alone."""
        return [self._one(one, value, settings) for one in (found, *found.alternatives)]

    def _one(self, found: Generated, value: Any, settings: ContinuingSettings) -> dict[str, Any]:
        assert isinstance(found, Told)
        if settings.return_tensors:
            return {"generated_token_ids": [*found.prompt, *found.ids]}
        text = continued(self.tokenizer, found, settings.clean_up_tokenization_spaces)
        if settings.return_full_text is False:
            return {"generated_text": text}
        if isinstance(value, str):
            return {"generated_text": value + text}
        if self._goes_on(value, settings):
            last = {**value[-1], "content": value[-1]["content"] + text}
            return {"generated_text": [*value[:-1], last]}
        return {"generated_text": [*value, {"role": "assistant", "content": text}]}


def _is_conversation(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(one, Mapping) and "role" in one and "content" in one for one in value)
    )
