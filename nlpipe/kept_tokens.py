"""A tokenizer kept beside an exported model, read without transformers: its import costs seconds, and brings torch.

What transformers makes of a folder's files is written down once, at export: the state of the fast tokenizer and what
its class knows beside that. What is read back does as the original did, or is not kept at all.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nlpipe.errors import ArtifactError
from nlpipe.tokens import Tokenizer, Tokenizers

KEPT = "tokens.json"

_ROLES = ("pad", "unk", "bos", "eos", "sep", "mask")
# Whatever a vocabulary is made of, these have letters, marks, two scripts and a sign outside the basic plane.
_PROBES = ("a", "The 3rd naïve café, don't!", "  two  spaces\n", "語 🦊 <s> [SEP]", "")


class Upstream:
    """As much of transformers' tokenizer as `Tokenizer` asks for, over the library that does its work."""

    def __init__(self, backend: Any, facts: dict[str, Any]) -> None:
        self.backend_tokenizer = backend
        self.all_special_ids: list[int] = facts["special_ids"]
        self.all_special_tokens: list[str] = facts["special_tokens"]
        self.model_max_length: int = facts["limit"]
        for role in _ROLES:
            token = facts["roles"][role]
            setattr(self, f"{role}_token", token)
            setattr(self, f"{role}_token_id", None if token is None else backend.token_to_id(token))

    def __call__(self, text: str, second: str | None = None, **how: Any) -> dict[str, list[int]]:
        """Ids and segments of one text or two, with the special tokens around them unless they are left out."""
        found = self.backend_tokenizer.encode(text, second, add_special_tokens=how.get("add_special_tokens", True))
        return {"input_ids": found.ids, "token_type_ids": found.type_ids}

    def __len__(self) -> int:
        return int(self.backend_tokenizer.get_vocab_size(with_added_tokens=True))

    def decode(self, ids: list[int], *, skip_special_tokens: bool, **_: Any) -> str:
        """The text of ids."""
        return str(self.backend_tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))

    def get_vocab(self) -> dict[str, int]:
        """The number of each token."""
        found: dict[str, int] = self.backend_tokenizer.get_vocab(with_added_tokens=True)
        return found

    def convert_ids_to_tokens(self, token: int) -> str | None:
        """A token by its number."""
        found: str | None = self.backend_tokenizer.id_to_token(token)
        return found


def keep(tok: Tokenizers, folder: Path) -> bool:
    """Write the tokenizer of what a model reads, where it alone is used and what is kept would do just the same."""
    source = tok.source
    if tok.target is not source or source.backend_text is None or getattr(source.upstream, "chat_template", None):
        return False
    upstream = source.upstream
    facts = {
        "segments": source.segments,
        "limit": min(int(upstream.model_max_length), 10**30),
        "roles": {role: getattr(upstream, f"{role}_token") for role in _ROLES},
        "special_ids": list(upstream.all_special_ids),
        "special_tokens": list(upstream.all_special_tokens),
        "start": list(tok.start),
    }
    content = json.dumps({"facts": facts, "tokenizer": json.loads(source.backend_text)}, ensure_ascii=False)
    kept = _read(content)
    if not _alike(source, kept.source):
        return False
    (folder / KEPT).write_text(content, encoding="utf-8")
    return True


def read(folder: Path) -> Tokenizers:
    """What `keep` wrote. Raises ArtifactError where it is damaged."""
    try:
        return _read((folder / KEPT).read_text(encoding="utf-8"))
    except Exception as error:  # `tokenizers` raises plain Exceptions
        raise ArtifactError(f"{folder / KEPT} is damaged ({error}): export the model again") from error


def _read(content: str) -> Tokenizers:
    from tokenizers import Tokenizer as Backend

    given = json.loads(content)
    facts = given["facts"]
    backend = Backend.from_str(json.dumps(given["tokenizer"]))
    backend.no_truncation()
    backend.no_padding()
    source = Tokenizer(Upstream(backend, facts), segments=facts["segments"])
    return Tokenizers(source, source, tuple(facts["start"]))


def _alike(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether two tokenizers read and write the same."""
    for text in _PROBES:
        mine, theirs = one.encode(text), other.encode(text)
        if mine != theirs or one.decode(mine.ids) != other.decode(theirs.ids):
            return False
    same = ("pad_id", "fallback_id", "limit", "single", "pair", "spaced", "begins")
    return all(getattr(one, name) == getattr(other, name) for name in same)
