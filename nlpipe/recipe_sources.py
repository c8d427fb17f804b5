"""What recipes are made of: strict scalars, the base of a section, and the places rows may come from.

Nothing here knows a file system or pandas: a source is only told apart from a mistake.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import NoneType
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError


def complain(message: str, at: str = "") -> PydanticCustomError:
    """An error for a validator to raise; `at` is the key it is about, where that is not the field itself."""
    return PydanticCustomError("nlpipe", "{message}", {"message": message, "at": at})


def compiled(pattern: str) -> str:
    """The pattern, which is a regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise complain(f"is not a regular expression: {error}") from error
    return pattern


def _whole(value: Any) -> Any:
    """YAML writes 1e3 as a float; where it is whole, it is a whole number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Strict, because pydantic would otherwise read `true` as 1 and "3" as 3.
Whole = Annotated[int, Field(strict=True), BeforeValidator(_whole)]
"""A whole number."""
Size = Annotated[int, Field(strict=True, ge=0), BeforeValidator(_whole)]
"""A whole number from 0."""
Count = Annotated[int, Field(strict=True, ge=1), BeforeValidator(_whole)]
"""A whole number from 1."""
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A finite number; a whole one will do."""
Name = Annotated[str, Field(min_length=1)]
"""Text that is not empty."""


def without_nulls(model: type[BaseModel], data: Mapping[str, Any]) -> dict[str, Any]:
    """`data` without the nulls that mean "as if I had said nothing": those of fields that cannot be null."""

    def keep(key: str, value: Any) -> bool:
        field = model.model_fields.get(key)
        return value is not None or field is None or _nullable(field.annotation)

    return {key: value for key, value in data.items() if keep(key, value)}


def _nullable(annotation: Any) -> bool:
    return annotation in (Any, None, NoneType) or any(_nullable(arg) for arg in get_args(annotation))


class Section(BaseModel):
    """The base of every part of a recipe: unknown keys are refused; null stands for a field's default."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, data: Any) -> Any:
        return without_nulls(cls, data) if isinstance(data, Mapping) else data


class FileSource(Section):
    """Rows in a file."""

    path: Name = Field(examples=["data/train.jsonl"])
    """the file; a relative path is looked up beside the recipe that names it"""
    format: Name | None = None
    """csv, tsv, json, jsonl, parquet, txt, or one of the task's own; null: as the file's name ends"""


class HubSource(Section):
    """Rows of a data set on the Hugging Face Hub."""

    hub: Name = Field(examples=["stanfordnlp/sst2"])
    """the data set's name"""
    config: Name | None = None
    """which of its configurations"""
    split: Name | None = None
    """which of its splits; null: the one of the same name as the key"""
    revision: Name | None = None
    """the branch, tag or commit"""


class CollectionSource(Section):
    """Queries with judged documents of a collection, in the form of BEIR; a folder of such files is a path."""

    corpus: Name = Field(examples=["data/corpus.jsonl"])
    """the documents: `_id`, `title` (may be left out), `text`"""
    queries: Name = Field(examples=["data/queries.jsonl"])
    """the queries: `_id`, `text`"""
    qrels: Name = Field(examples=["data/qrels.tsv"])
    """which document answers which query, and how well: `query_id`, `doc_id`, `relevance`"""


PATHS = ("path", "corpus", "queries", "qrels")
"""The keys of a source that hold paths."""

_SOURCE = "a file, {path: …} or {hub: …}"


def _source_kind(value: Any) -> str:
    if isinstance(value, CollectionSource) or (
        isinstance(value, Mapping) and {"corpus", "queries", "qrels"} & set(value)
    ):
        return "<collection>"
    if isinstance(value, FileSource | HubSource):
        return "<file>" if isinstance(value, FileSource) else "<hub>"
    if isinstance(value, Mapping):
        if "hub" in value:
            return "<table>" if "path" in value else "<hub>"
        return "<file>"
    if isinstance(value, str | os.PathLike):
        return "<name>"
    return "<share>" if isinstance(value, int | float) and not isinstance(value, bool) else "<table>"


def _name(value: Any) -> str:
    text = os.fspath(value)
    if re.fullmatch(r"<.* rows>|<\w+>", text):
        raise complain(f"is {text}, rows that came from Python and are not in the recipe; name a file instead")
    if not text:
        raise complain(f"must be {_SOURCE}, is empty")
    return str(text)


def _table(value: Any, info: ValidationInfo) -> Any:
    """Anything with rows from Python; what a YAML file can hold here is a mistake."""
    if isinstance(value, Mapping):
        raise complain("must name either a `path` or a `hub` data set, not both")
    read_from_file = bool(info.context and info.context.get("file"))
    if isinstance(value, bool | int | float) or (isinstance(value, list) and read_from_file):
        written = f"is {'a list' if isinstance(value, list) else str(value).lower()}"
        raise complain(f"must be {_SOURCE}, {written}")
    return value


def _share(value: Any) -> float:
    if not 0 < value < 1:
        raise complain(f"must be a share of train between 0 and 1, or {_SOURCE}; is {value:g}")
    return float(value)


# The tags never show: `recipe_words.py` leaves out what is not in the recipe. The rows of a table (a
# DataFrame, a list of mappings) are judged by data.py, so that no pandas is needed here.
_Rows = Annotated[SkipJsonSchema[Any], AfterValidator(_table)]
_SOURCES = (
    Annotated[str, BeforeValidator(_name), Tag("<name>")]
    | Annotated[FileSource, Tag("<file>")]
    | Annotated[HubSource, Tag("<hub>")]
    | Annotated[CollectionSource, Tag("<collection>")]
)
Source = Annotated[
    _SOURCES | Annotated[_Rows, Tag("<table>")] | Annotated[_Rows, Tag("<share>")],
    Discriminator(_source_kind),
]
"""A path, {path, format}, {hub, config, split, revision}, {corpus, queries, qrels}, or from Python a table of rows."""
SourceOrShare = Annotated[
    _SOURCES
    | Annotated[_Rows, Tag("<table>")]
    | Annotated[
        float,
        BeforeValidator(_share),
        Field(json_schema_extra={"exclusiveMinimum": 0, "exclusiveMaximum": 1}),
        Tag("<share>"),
    ],
    Discriminator(_source_kind),
]
"""A Source, or a share between 0 and 1 of the training rows, held out."""
