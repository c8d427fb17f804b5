"""The tiny model that stands in for a recipe's own: of the same architecture, made without a network.

Where the real model's config and tokenizer lie here (a folder, a package, the Hub's cache), they are used with
narrow layers; else the name says which architecture it is. Knows names and architectures, no task.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from nlpipe import locating, scratch
from nlpipe.errors import ArtifactError
from nlpipe.recipe import ModelSection, TokenizerSection
from nlpipe.task import Family
from nlpipe.testing.shrunk import shrunk, small
from nlpipe.testing.tiny import corpus, tiny_model

POSITIONS = 512
PIECES = 500  # of a tokenizer that is learnt
LONGER = 4  # times as many pieces as of a tokenizer learnt from all rows, at most

# What the names of well-known models on the Hub say of their architecture (`nlpipe.testing.tiny`). The first that
# matches holds: `distilroberta` is a RoBERTa, `bert` is part of many names.
KNOWN: tuple[tuple[str, str], ...] = (
    (r"modernbert|ettin-encoder", "modernbert"),
    (r"deberta", "deberta_v2"),
    (r"big-?bird-pegasus", "pegasus"),
    (r"big-?bird", "bigbird"),
    (r"roberta|camembert|xlm-r|multilingual-e5|bge-m3", "roberta"),
    (r"distilbert", "distilbert"),
    (r"albert", "albert"),
    (r"mpnet", "mpnet"),
    (r"electra", "electra"),
    (r"mbart", "mbart"),
    (r"bart", "bart"),
    (r"pegasus", "pegasus"),
    (r"nllb|m2m100|small100", "nllb"),
    (r"opus-mt|marian", "marian"),
    (r"t5|t0|aya-101|madlad", "t5"),
    (r"gpt-?neo(?!x)", "gpt_neo"),
    (r"gpt-?2|dialogpt", "gpt2"),
    (r"bloom", "bloom"),
    (r"(^|/)opt-", "opt"),
    (r"gemma", "gemma"),
    (r"qwen", "qwen2"),
    (r"llama|smollm|mistral|vicuna|zephyr|yi-", "llama"),
    (r"bert|minilm|bge|gte|(^|/)e5-", "bert"),
)

# A tokenizer made here has no template for conversations, where the real one of an instructed model has.
CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|> {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)


def architecture_of(name: str) -> str:
    """The architecture that a model's name stands for.

    Raises ArtifactError where it says nothing, with what to do.
    """
    own = name.rstrip("/").rpartition("/")[2]  # before its owner's: distilbert/distilgpt2 is a GPT-2
    found = next((kind for part in (own, name) for pattern, kind in KNOWN if re.search(pattern, part.lower())), None)
    if found is None:
        raise ArtifactError(
            f"the model {name} is not here, and its name does not say what it is, so no tiny model can stand in for "
            f"it. Fetch its small files (hf download {name} --include '*.json' '*.txt' '*.model'), or name one like "
            "it that is here (--set model.backbone=…)"
        )
    return found


def here(name: str, revision: str) -> Path | None:
    """The folder with the model's config and tokenizer, with weights or without; None where they are not here."""
    try:
        return locating.locate(name, revision=revision, offline=True).folder
    except ArtifactError:
        pass
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith("."):
        return None  # a path or a package, which the Hub's cache does not know
    from huggingface_hub import try_to_load_from_cache

    files = [try_to_load_from_cache(name, file, revision=revision) for file in ("config.json", "tokenizer_config.json")]
    return Path(str(files[0])).parent if all(isinstance(file, str) for file in files) else None


def stand_in(
    section: ModelSection, folder: Path, *, head: Callable[[Family], str | None], seed: int, width: int, places: int
) -> tuple[str, bool]:
    """Write the tiny model to `folder`, `width` wide or more; what it is in a few words, and whether the real one's
    config was there to say so.

    `head` is the head that a new model of a family is made with; an adapter takes `places` of the longest input.
    """
    width = -(-max(width, 32) // 32) * 32
    if section.backbone is None:
        _new(section, folder, head, seed, width)
        return f"a narrow {section.name} with a tokenizer of a few pieces", True
    source = here(section.backbone, section.revision)
    if source is not None:
        shrunk(source, folder, seed=seed, width=width)
        return f"a narrow random model with the config and the tokenizer of {section.backbone}", True
    kind = architecture_of(section.backbone)
    length = section.max_length if isinstance(section.max_length, int) else 0
    tiny_model(kind, folder, seed=seed, width=width, positions=max(POSITIONS, length) + places)
    (folder / "chat_template.jinja").write_text(CHAT, encoding="utf-8")
    return f"a tiny random {kind} (by its name: {section.backbone} is not here)", False


def longest(section: ModelSection) -> int | Literal["auto"]:
    """`max_length` in small: more for a new model, whose tokenizer is learnt from a few lines and cuts texts finer."""
    if section.new is None or section.max_length == "auto":
        return section.max_length
    return min(LONGER * section.max_length, POSITIONS)


def _new(section: ModelSection, folder: Path, head: Callable[[Family], str | None], seed: int, width: int) -> None:
    """A model from scratch, narrow; its tokenizer learnt from a few lines, or the one named where it is here."""
    wanted = section.tokenizer
    if isinstance(wanted, str) and here(wanted, "main") is None:
        wanted = TokenizerSection(type="bpe", vocab_size=PIECES)
    elif isinstance(wanted, TokenizerSection):
        wanted = wanted.model_copy(update={"vocab_size": min(PIECES, wanted.vocab_size)})
    new = {key: value for key, value in small(section.new or {}, width).items() if key != "vocab_size"}
    new |= {key: max(POSITIONS, new[key]) for key in ("max_position_embeddings", "n_positions") if key in new}
    made = section.model_copy(update={"tokenizer": wanted, "new": new, "max_length": longest(section)})
    scratch.make(made, head(scratch.family(made)), corpus, folder, seed=seed, offline=True)
