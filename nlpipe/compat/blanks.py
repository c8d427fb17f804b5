"""fill-mask and feature-extraction."""

from __future__ import annotations

import logging
from typing import Any

from nlpipe.compat.base import Pipeline, cutting
from nlpipe.compat.objectives import HiddenStates, Likeliest, Masked, MaskFillings, States
from nlpipe.compat.settings import Extracting, Filling
from nlpipe.errors import DataError
from nlpipe.inputs import as_text
from nlpipe.objectives.base import Objective, Query, Text
from nlpipe.objectives.masked_text import mask_of

log = logging.getLogger("nlpipe")


class FillMaskPipeline(Pipeline[Filling]):
    """What may stand in the place of a mask token; of several masks a list for each."""

    @classmethod
    def asking(cls, labels: tuple[str, ...]) -> Objective:
        """The masked head."""
        return MaskFillings()

    def objective(self, settings: Filling) -> Objective:
        """With the targets' tokens."""
        mask_of(self.loaded.tokenizers.source)
        cut, longest = cutting(settings.tokenizer_kwargs, "tokenizer_kwargs")
        targets = None if settings.targets is None else self._targets(settings.targets)
        window = self.window(cut=cut, longest=longest, long="error")
        return MaskFillings(window=window, top=settings.top_k, targets=targets)

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """A list of one text is answered as the text alone: so it was."""
        found = self.run(inputs, self.settings.over(self.kind, options))
        return found[0] if isinstance(inputs, list) and len(inputs) == 1 else found

    def _targets(self, given: Any) -> tuple[int, ...]:
        """The token of each target: its own, or the first of those that it is cut into."""
        known, found = self.tokenizer.get_vocab(), []
        for target in [given] if isinstance(given, str) else given:
            token = known.get(target)
            if token is None:
                ids = self.tokenizer(target, add_special_tokens=False)["input_ids"]
                if not ids:
                    log.warning("targets: the tokenizer makes no token of %r; it is left out", target)
                    continue
                token = ids[0]
                log.warning(
                    "targets: %r is no token of this model; %r stands for it",
                    target,
                    self.tokenizer.convert_ids_to_tokens(token),
                )
            found.append(token)
        if not found:
            raise DataError("targets: at least one that the tokenizer knows is needed")
        return tuple(dict.fromkeys(found))

    def query(self, value: Any, settings: Filling) -> Query:
        """The text as it stands."""
        return Masked(as_text(value, "an input"))

    def told(self, found: Likeliest, value: Any, settings: Filling) -> list[Any]:
        """For each filling its probability, its token, and the whole text with it."""
        alone = len(found.masks) == 1
        each = [[self._one(found, at, token, score, alone=alone) for token, score in best] for at, best in found.masks]
        return each[0] if alone else each

    def _one(self, found: Likeliest, at: int, token: int, score: float, *, alone: bool) -> dict[str, Any]:
        ids = [*found.ids[:at], token, *found.ids[at + 1 :]]
        kept = [one for one in ids if one != self.tokenizer.pad_token_id]
        return {
            "score": score,
            "token": token,
            "token_str": self.tokenizer.decode([token]),
            # the other masks are special tokens too, and would be left out
            "sequence": self.tokenizer.decode(kept, skip_special_tokens=alone),
        }


class FeatureExtractionPipeline(Pipeline[Extracting]):
    """The last hidden states of all tokens, [1, tokens, width] for each text."""

    @classmethod
    def asking(cls, labels: tuple[str, ...]) -> Objective:
        """The model without a head."""
        return HiddenStates()

    def objective(self, settings: Extracting) -> Objective:
        """A long text is refused, or cut where that is asked for."""
        cut, longest = cutting(settings.tokenize_kwargs, "tokenize_kwargs")
        return HiddenStates(window=self.window(cut=cut or bool(settings.truncation), longest=longest, long="error"))

    def query(self, value: Any, settings: Extracting) -> Query:
        """The text."""
        return Text(as_text(value, "an input"))

    def told(self, found: States, value: Any, settings: Extracting) -> Any:
        """Lists of numbers, or a tensor."""
        if settings.return_tensors:
            import torch

            return torch.from_numpy(found.values.copy()).unsqueeze(0)
        return [found.values.tolist()]
