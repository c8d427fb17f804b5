"""Languages of rows on a model that is told none: those it knows, or nothing speaks against, are taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nlpipe import DataError
from nlpipe.objectives import codes
from nlpipe.recipe import Recipe
from nlpipe.running import run
from tests.support import tiny, untrained


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ("de", "fr", True),
        ("deu", "fra", True),
        ("German", "French", True),
        ("de_DE", "fr_XX", True),
        ("de", "de_DE", False),
        ("deu_Latn", "deu", False),
        ("DE", "de", False),
        ("zh-Hans", "zh_TW", False),
        ("de", "fra", False),  # nothing is known of these
        ("en", "ROMANCE", False),
        ("de", None, False),
        (None, None, False),
        ("", "de", False),
    ],
)
def test_only_codes_of_one_form_can_differ(one: str | None, other: str | None, wanted: bool) -> None:
    assert codes.differ(one, other) is codes.differ(other, one) is wanted


def row(source_lang: str | None = None, target_lang: str | None = None) -> dict[str, Any]:
    return {"source": "ba be", "source_lang": source_lang, "target_lang": target_lang}


@pytest.mark.parametrize("architecture", ["t5", "gpt2"])
def test_a_model_that_says_nothing_takes_any_language(architecture: str, tmp_path: Path) -> None:
    pipe = untrained("translation", tiny(architecture, tmp_path))
    plain = pipe(row(), max_new_tokens=2)
    assert pipe(row("en", "de"), max_new_tokens=2) == pipe(row("fr", "it"), max_new_tokens=2) == plain


def test_a_model_whose_files_name_its_languages_is_held_to_them(tmp_path: Path) -> None:
    folder = tiny("marian", tmp_path)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "source_lang": "en", "target_lang": "de"}))
    pipe = untrained("translation", folder)
    plain = pipe(row(), max_new_tokens=2)
    for fine in (row("en", "de"), row("en_GB", "de_AT"), row("eng", "deu"), row("en")):
        assert pipe(fine, max_new_tokens=2) == plain
    with pytest.raises(DataError, match=r"input 1: `target_lang` is 'fr', and this model.*knows 'de'.*codes: false"):
        pipe([row("en", "de"), row("en", "fr")])
    with pytest.raises(DataError, match="`source_lang` is 'de'"):
        pipe(row("de", "en"))
    assert untrained("translation", folder, codes=False)(row("de", "en"), max_new_tokens=2) == plain


@pytest.mark.parametrize("architecture", ["t5", "gpt2"])
def test_a_model_is_held_to_the_languages_that_it_was_taught(architecture: str, tmp_path: Path) -> None:
    pipe = untrained("translation", tiny(architecture, tmp_path), source_lang="en", target_lang="de")
    assert pipe(row("en", "de"), max_new_tokens=2) == pipe("ba be", max_new_tokens=2)
    with pytest.raises(DataError, match=r"`target_lang` is 'fr'.*knows 'de'"):
        pipe(row("en", "fr"))
    with pytest.raises(DataError, match=r"`target_lang` is 'fr'.*knows 'de'"):
        pipe("ba be", target_lang="fr")
    in_words = {"template": "to {target_lang}: {source}", "decoder_template": "to {target_lang}: {source} ="}
    told = untrained("translation", tiny(architecture, tmp_path), target_lang="de", **in_words)
    assert told(row("en", "fr"), max_new_tokens=2).seen[0] > 2


def trained(languages: list[tuple[str | None, str | None]], backbone: Path, out: Path, **task: Any) -> Any:
    rows = [{**row(source, target), "target": "be ba"} for source, target in languages]
    return run(
        Recipe(
            task={"name": "translation", "options": task},  # type: ignore[arg-type]
            model={"backbone": str(backbone)},  # type: ignore[arg-type]
            data={"train": rows},  # type: ignore[arg-type]
            train={"steps": 1, "batch_size": 2},  # type: ignore[arg-type]
            output={"dir": str(out)},  # type: ignore[arg-type]
        )
    )


def test_training_rows_say_the_languages_of_the_model(tmp_path: Path) -> None:
    backbone = tiny("t5", tmp_path)
    report = trained([("en", "de"), ("en", None), (None, "de")], backbone, tmp_path / "run")
    card = json.loads((report.model / "nlpipe.json").read_text())
    assert (card["options"]["source_lang"], card["options"]["target_lang"]) == ("en", "de")
    mixed = [("en", "de"), ("en", "fr")]
    with pytest.raises(DataError, match=r"(?s)row 1 .*another in other rows.*name {target_lang} in task.template"):
        trained(mixed, backbone, tmp_path / "mixed")
    assert trained(mixed, backbone, tmp_path / "free", codes=False).finished
    assert trained(mixed, backbone, tmp_path / "told", template="to {target_lang}: {source}").finished
    with pytest.raises(DataError, match=r"(?s)row 2 .*`target_lang` is 'fr'.*knows 'de'"):
        trained(mixed, backbone, tmp_path / "said", target_lang="de")
