"""From a model's folder to a loaded model with its tokenizers.

Knows architectures, never tasks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import nn

from nlpipe import bare, pairs, tensors, upstream
from nlpipe.errors import UnsupportedError
from nlpipe.locating import Location
from nlpipe.objectives.base import Objective
from nlpipe.task import Family
from nlpipe.tokens import Tokenizer, Tokenizers

Attention = Literal["auto", "opened", "causal"]

HEAD_FILE = "head.safetensors"
TARGET = "target_tokenizer"  # the folder of a tokenizer for what the model writes, where that is another one

# Position ids start behind the padding id in these, so that many positions are lost (RoBERTa: 514 -> 512).
_OFFSET_POSITIONS = frozenset(
    [
        "roberta",
        "xlm-roberta",
        "xlm-roberta-xl",
        "roberta-prelayernorm",
        "camembert",
        "data2vec-text",
        "mpnet",
        "longformer",
        "xmod",
    ]
)
_DEFAULT_LENGTH = 512  # where neither the model nor its tokenizer states a limit (T5: relative positions)


@dataclass(frozen=True, slots=True)
class Backbone:
    """A loaded model.

    `head` is `transformers` or `nlpipe` (ours, where transformers has none). `fresh` names the modules
    that the checkpoint does not have and that must be trained, `limit` the longest input in tokens.
    `attention` is `opened` where a decoder was made to see both sides, `causal` where it could have been and was
    left as it is by name, and `auto` where there was nothing to decide.
    """

    model: nn.Module
    tokenizers: Tokenizers
    family: Family
    location: Location
    head: Literal["transformers", "nlpipe"]
    fresh: tuple[str, ...]
    limit: int
    attention: Attention = "auto"

    @property
    def parameters(self) -> int:
        """How many weights there are."""
        return sum(p.numel() for p in self.model.parameters())


def family_of(config: Any) -> Family:
    """The family, from the config alone."""
    if getattr(config, "is_encoder_decoder", False):
        return Family.ENCODER_DECODER
    if upstream.causal_only(config) or getattr(config, "is_decoder", False):
        return Family.DECODER
    return Family.ENCODER


def tokenizers(location: Location, config: Any) -> Tokenizers:
    """The tokenizer of what the model reads; what it writes has the same one unless its folder says otherwise."""
    source = upstream.read_tokenizer(location.folder, reading(config).vocab_size)
    target = None
    if (location.folder / TARGET).is_dir():
        written = getattr(config, "decoder", config)
        target = Tokenizer(upstream.read_tokenizer(location.folder / TARGET, written.vocab_size), segments=False)
    return wrapped(source, config, upstream.decoder_start(location.folder, config), target)


def wrapped(source: Any, config: Any, start: tuple[int, ...], target: Tokenizer | None = None) -> Tokenizers:
    """A tokenizer of transformers as the model of a config reads with it, and writes unless `target` does."""
    # BERT-like models alone have segments; their config says so, their tokenizers not reliably.
    reads = Tokenizer(source, segments=getattr(reading(config), "type_vocab_size", 0) > 1)
    writes = target or reads
    if target is None and hasattr(source, "spm_target"):  # Marian's: two halves in one
        writes = Tokenizer(source, segments=False, writes=True)
    if len(start) == 1 and writes.begins and config.model_type != "encoder-decoder":
        start = (*start, *writes.single.prefix[:1])
    return Tokenizers(reads, writes, start)


def save_tokenizers(tok: Tokenizers, folder: Path) -> None:
    """Write the files of the tokenizer, and those of what the model writes where that is another one."""
    tok.source.save(folder)
    if tok.target.upstream is not tok.source.upstream:
        tok.target.save(folder / TARGET)


def reading(config: Any) -> Any:
    """The part of a config that describes what reads: the encoder's of a pair made of two models."""
    return config.encoder if config.model_type == "encoder-decoder" else config


def limit_of(config: Any, tok: Tokenizer) -> int:
    """The longest input in tokens: the model's positions or the tokenizer's own limit, whichever is less."""
    config = reading(config)
    positions = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if positions and config.model_type in _OFFSET_POSITIONS:
        positions -= (config.pad_token_id or 0) + 1
    stated = [limit for limit in (positions, tok.limit) if limit]
    return min(stated) if stated else _DEFAULT_LENGTH


def load(
    location: Location,
    objective: Objective,
    *,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    labels: tuple[str, ...] = (),
    attention: Attention = "auto",
    quantize: str | None = None,
) -> Backbone:
    """A model with the objective's head; what the checkpoint lacks is drawn from `seed` and named in `fresh`.

    With `attention` `auto` or `opened` a decoder sees both sides where the objective needs that; `causal` leaves it
    as its config says. Raises UnsupportedError where it cannot be opened. `quantize` 4bit or 8bit keeps the weights
    of the backbone's layers in that many bits; the head, the embeddings and the norms stay as they are.
    """
    config = upstream.read_config(location.folder)
    tok = tokenizers(location, config)
    _prepare(config, objective, tok, labels)
    decoder = objective.both_sides and family_of(config) is Family.DECODER
    if decoder and attention != "causal":
        config.is_causal = False
    opened = decoder and getattr(config, "is_causal", None) is False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if objective.head is None:
            model, missing = bare.load(location.folder, config, dtype, quantize)
        elif upstream.has_head(objective.head, config):
            model, missing = upstream.load_model(objective.head, location.folder, config, dtype, quantize)
            missing = _found_again(model, missing, location.folder, config, dtype)
        elif objective.head == pairs.HEAD and family_of(config) is Family.ENCODER:
            if quantize:
                raise UnsupportedError(
                    f"model.quantize: {quantize}: an encoder becomes a pair with new weights, which have to be trained "
                    "in full; leave it out, or take a backbone that writes by itself"
                )
            model, missing = pairs.warm(location.folder, config, tok.source, dtype)
            tok = replace(tok, start=(model.config.decoder_start_token_id,))
        else:
            base, _ = upstream.load_model(None, location.folder, config, dtype, quantize)
            model, missing = HeadedModel.over(base, location.folder, objective)
    if opened:
        prove_open(model, config)
    return Backbone(
        model=model,
        tokenizers=tok,
        family=family_of(config),
        location=location,
        head="nlpipe" if isinstance(model, HeadedModel) else "transformers",
        fresh=fresh_modules(model, missing),
        limit=limit_of(config, tok.source),
        attention="opened" if opened else "causal" if decoder else "auto",
    )


def _found_again(model: Any, missing: frozenset[str], folder: Path, config: Any, dtype: torch.dtype) -> frozenset[str]:
    """The names of missing weights, after a backbone that was not found under its name has been read by itself.

    transformers calls the backbone of a causal Llama or Qwen2 `model` and that of the same with a head for spans
    `transformer`: it loads the second from the first's folder with every weight drawn at random.
    """
    prefix = f"{model.base_model_prefix}."
    own = {f"{prefix}{name}" for name, _ in model.base_model.named_parameters()}
    if model.base_model is model or not own or not own <= missing:
        return missing
    if upstream.quantized(model):
        raise UnsupportedError(
            f"model.quantize: transformers does not find this folder's weights for {type(model).__name__} by their "
            "names; leave it out"
        )
    base, lost = upstream.load_model(None, folder, config, dtype)
    model.base_model.load_state_dict(base.state_dict())
    return (missing - own) | {f"{prefix}{name}" for name in lost}


def prove_open(model: nn.Module, config: Any) -> None:
    """Raise UnsupportedError unless a decoder whose config says `is_causal: False` sees both sides, and in order.

    transformers opens the attention of GPT-2, Llama, Qwen2, Gemma and OPT by that flag. GPT-Neo has a causal buffer of
    its own: no state moves with a later token. BLOOM's linear bias depends on the key alone, which says how far away
    a token is only while all that is seen lies to the left; opened, the same token has the same state at every
    place. (A bias mirrored to both sides was tried: a token then cannot tell left from right, and a rule about
    the neighbouring word was not learnt.)
    """
    whole: Any = model
    reader = whole.base if isinstance(model, HeadedModel) else whole.base_model
    one, other, last = torch.randperm(config.vocab_size, generator=torch.Generator().manual_seed(0))[:3].tolist()
    training = model.training
    model.eval()
    with torch.no_grad():
        first, second = (
            reader(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, 4)).last_hidden_state[0].float()
            for ids in ([one, other, one, last], [one, other, one, other])
        )
    model.train(training)
    if torch.equal(first[0], second[0]):  # a masked token weighs exactly 0
        fault = "each token would be judged without what follows it"
    elif torch.allclose(first[0], first[2], rtol=1e-4, atol=1e-5):
        fault = "no token would know where in the text it stands"
    else:
        return
    raise UnsupportedError(
        f"the attention of {config.model_type} cannot be opened to both sides with transformers: {fault}. "
        "Set model.attention: causal to train it as it was pretrained, or take another model."
    )


def _prepare(config: Any, objective: Objective, tok: Tokenizers, labels: tuple[str, ...]) -> None:
    """The config as this objective needs it; it is saved with the model, so that transformers agrees."""
    config.pad_token_id = tok.source.pad_id
    if getattr(config, "attention_type", None) == "block_sparse":
        # BigBird: block-sparse logits depend on how far the neighbours in the batch pad the row.
        config.attention_type = "original_full"
    if objective.outputs is not None:
        names = objective.head_labels(labels) or tuple(f"LABEL_{index}" for index in range(objective.outputs))
        config.num_labels = objective.outputs
        config.id2label = dict(enumerate(names))
        config.label2id = {name: index for index, name in enumerate(names)}


def fresh_modules(model: nn.Module, missing: frozenset[str]) -> tuple[str, ...]:
    """The outermost modules whose every weight is missing from the checkpoint.

    PEFT guesses head names and loses those it does not know (T5, BART, a BERT without pooler); the missing
    keys are the truth.
    """
    fresh: list[str] = []
    for name, module in model.named_modules():
        if not name or any(name.startswith(f"{outer}.") for outer in fresh):
            continue
        keys = [f"{name}.{key}" for key, _ in module.named_parameters()]
        if keys and all(key in missing for key in keys):
            fresh.append(name)
    return tuple(fresh)


class HeadedModel(nn.Module):
    """One linear layer over a backbone's states, where transformers has no class with the head (Marian).

    It reads the encoder half of an encoder-decoder. `pooled` says whether it reads one state per row, which is the
    last token's of a decoder and otherwise the mean over tokens, or every token's.
    """

    def __init__(self, base: nn.Module, outputs: int, *, pooled: bool = True) -> None:
        super().__init__()
        self.base = base
        config: Any = base.config
        self.config = config
        self.family = family_of(config)
        self.pooled = pooled
        self.head = nn.Linear(config.hidden_size, outputs)
        if self.family is Family.ENCODER_DECODER:
            # The decoder half is kept, so that the folder stays whole, but it takes no part.
            used = {id(p) for p in self._reader().parameters()}
            for parameter in base.parameters():
                parameter.requires_grad_(parameter.requires_grad and id(parameter) in used)

    @classmethod
    def over(cls, base: nn.Module, folder: Path, objective: Objective) -> tuple[HeadedModel, frozenset[str]]:
        """With the head saved in `folder`, or a new one and the names of its weights."""
        from safetensors.torch import load_file

        model = cls(base, objective.outputs or 0, pooled=objective.pooled)
        saved = load_file(folder / HEAD_FILE) if (folder / HEAD_FILE).is_file() else {}
        fits = {key: value.shape for key, value in saved.items()} == {
            key: value.shape for key, value in model.head.state_dict().items()
        }
        if fits:
            model.head.load_state_dict(saved)
        return model, frozenset() if fits else frozenset({"head.weight", "head.bias"})

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device

    def _reader(self) -> nn.Module:
        whole: Any = self.base
        reader: nn.Module = whole.get_encoder() if self.family is Family.ENCODER_DECODER else whole
        return reader

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **rest: torch.Tensor) -> Any:
        """`logits`, [rows, outputs] where pooled, else [rows, tokens, outputs]."""
        states = self._reader()(input_ids=input_ids, attention_mask=attention_mask, **rest).last_hidden_state
        if self.pooled:
            pool = tensors.last_token if self.family is Family.DECODER else tensors.mean_pool
            states = pool(states, attention_mask)
        return SimpleNamespace(logits=self.head(states))

    def save_pretrained(self, folder: Path) -> None:
        """The backbone as transformers reads it, and the head beside it."""
        from safetensors.torch import save_file

        whole: Any = self.base
        whole.save_pretrained(folder)
        save_file({key: value.contiguous() for key, value in self.head.state_dict().items()}, folder / HEAD_FILE)


def with_window(objective: Objective, backbone_limit: int, max_length: int | None) -> Objective:
    """The objective reading at most `max_length` tokens at once (None: all that the model can)."""
    if max_length is not None and max_length > backbone_limit:
        raise UnsupportedError(
            f"model.max_length is {max_length}, the model reads at most {backbone_limit} tokens at once; "
            "longer texts are read in windows (model.long: window)"
        )
    return replace(objective, window=replace(objective.window, max_length=max_length or backbone_limit))
