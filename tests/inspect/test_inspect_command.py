"""`nlpipe inspect`: settings from words, one message for each mistake, and the page of the documentation."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlpipe import cli
from nlpipe import inspect as package
from nlpipe.inspect import VIEWS, Subject, command

ROOT = Path(__file__).parents[2]
TEXT = "The bark of the tree, said the dog."
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process: exit code, standard output, standard error."""
    from rich.console import Console

    def call(*words: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nlpipe", *map(str, words)])
        # The console of errors holds the stream of the time when it was made.
        monkeypatch.setattr(cli, "ERRORS", Console(stderr=True, highlight=False, soft_wrap=True))
        with pytest.raises(SystemExit) as ended:
            cli.main()
            raise SystemExit(0)
        code = ended.value.code
        found = capsys.readouterr()
        return (0 if code is None else int(code)), found.out, found.err

    return call


def test_a_view_is_printed(run: Run, folder: Callable[[str], Path]) -> None:
    code, out, _ = run("inspect", "tokens", folder("bert"), TEXT)
    assert code == 0
    assert "side by side" in out
    assert max(map(len, out.splitlines())) <= 80


def test_json_is_the_result(run: Run, folder: Callable[[str], Path]) -> None:
    code, out, _ = run("inspect", "attention", folder("gpt2"), TEXT, "--json", "--set", "words=true")
    assert code == 0
    assert json.loads(out) == json.loads(package.attention(folder("gpt2"), TEXT, words=True).to_json())


def test_a_page_is_written(run: Run, folder: Callable[[str], Path], tmp_path: Path) -> None:
    file = tmp_path / "seen.html"
    code, out, said = run("inspect", "positions", folder("bloom"), TEXT, "--html", file)
    assert (code, out) == (0, "")
    assert f"written: {file}" in said.replace("\n", "")
    assert file.read_text() == package.positions(folder("bloom"), TEXT).to_html()


def test_several_texts(run: Run, folder: Callable[[str], Path]) -> None:
    code, out, _ = run("inspect", "embeddings", folder("bert"), "the bark", "a bark", "--set", "word=bark", "--json")
    assert code == 0
    assert json.loads(out)["contexts"]["word"] == "bark"
    code, out, _ = run("inspect", "attention", folder("t5"), TEXT, "the dog", "--json")
    assert code == 0
    assert json.loads(out)["output"] == "the dog"


def test_settings_are_read_by_their_types() -> None:
    function = package.next
    found = command._settings("next", function, ["top-k=3", "temperature=1.5", "top=4"])
    assert found == {"top_k": 3, "temperature": 1.5, "top": 4}
    assert command._settings("tokens", package.tokens, ["beside=words, bytes"]) == {"beside": ["words", "bytes"]}
    assert command._settings("positions", package.positions, ["seed=7"]) == {"seed": 7}
    assert command._settings("positions", package.positions, ["seed=none"]) == {"seed": None}
    assert command._settings("attention", package.attention, ["words=yes"]) == {"words": True}


@pytest.fixture(scope="module")
def statespace(folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without attention."""
    import transformers

    path = tmp_path_factory.mktemp("mamba")
    tok = transformers.AutoTokenizer.from_pretrained(folder("gpt2"))
    config = transformers.MambaConfig(vocab_size=len(tok), hidden_size=16, num_hidden_layers=2, state_size=4)
    transformers.MambaForCausalLM(config).save_pretrained(path)
    tok.save_pretrained(path)
    return path


MISTAKES = {
    "no such view": (("looks", "bert", TEXT), "there is no view 'looks'; there are: tokens, embeddings,"),
    "a view nearly": (("atention", "bert", TEXT), "did you mean 'attention'?"),
    "no such model": (("tokens", "./nowhere", TEXT), "there is no model folder ./nowhere"),
    "an empty text": (("attention", "bert", ""), "the text is empty; give at least one word"),
    "white space": (("next", "gpt2", " \n"), "the text is empty; give at least one word"),
    "a word not there": (
        ("embeddings", "bert", "the tree", "a dog", "--set", "word=bark"),
        "the word 'bark' is not in the text 'the tree'; its words are: the, tree",
    ),
    "a word once": (("embeddings", "bert", "the bark", "--set", "word=bark"), "two contexts need a second text"),
    "no such layer": (
        ("attention", "bert", TEXT, "--set", "layer=3"),
        "there is no layer 3: this model has 2 (1 to 2)",
    ),
    "layer zero": (("attention", "bert", TEXT, "--set", "layer=0"), "there is no layer 0: this model has 2 (1 to 2)"),
    "no such head": (("attention", "bert", TEXT, "--set", "head=5"), "there is no head 5: this model has 4 (1 to 4)"),
    "a long text": (("attention", "bert", "tree " * 70), "has 72 tokens, and"),
    "a long text for states": (("embeddings", "bert", "tree " * 70), "reads at most 64 at once. Give a shorter one"),
    "a long output": (("attention", "bart", "tree", "tree " * 70), "the output"),
    "no such setting": (
        ("attention", "bert", TEXT, "--set", "layers=1"),
        "attention has no setting 'layers'; did you mean 'layer'?",
    ),
    "a setting of another type": (
        ("attention", "bert", TEXT, "--set", "layer=one"),
        "layer must be a whole number, is 'one'",
    ),
    "a yes or no": (("attention", "bert", TEXT, "--set", "words=maybe"), "words must be true or false, is 'maybe'"),
    "a setting without a value": (("attention", "bert", TEXT, "--set", "layer"), "--set layer: say NAME=VALUE"),
    "too many texts": (("tokens", "bert", "a", "b"), "tokens takes 1 text (text), not 2"),
    "an output of an encoder": (("attention", "bert", "a", "b"), "is no encoder-decoder"),
    "a first token beyond": (("attention", "bert", TEXT, "--set", "first=99"), "first is 99, and there are"),
    "no folder for the page": (("tokens", "bert", TEXT, "--html", "/no/where/x.html"), "there is no folder /no/where"),
    "no task": (("why", "bert", TEXT), "a model without a task, so it gives no answer to explain"),
    "no task of that name": (("why", "bert", TEXT, "--set", "task=judging"), "judging"),
    "no head for the task": (
        ("why", "bert", TEXT, "--set", "task=classification"),
        "it has no head for classification",
    ),
    "only special tokens": (("embeddings", "bert", "\u200b"), "the tokenizer finds no word in the text"),
}


@pytest.mark.parametrize(("words", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_has_one_message(
    run: Run, folder: Callable[[str], Path], words: tuple[str, ...], message: str
) -> None:
    what, model, *rest = words
    named = model if model.startswith(".") else folder(model)
    code, out, said = run("inspect", what, named, *rest)
    assert (code, out) == (2, ""), said
    assert message in said
    assert "Traceback" not in said
    assert said.count("error:") == 1


def test_a_model_without_attention_says_so_and_shows_the_rest(run: Run, statespace: Path) -> None:
    code, _, said = run("inspect", "attention", statespace, TEXT)
    assert code == 2
    assert "(mamba) has no attention weights to show" in said
    for what in ("tokens", "embeddings", "positions", "next", "objective"):
        assert run("inspect", what, statespace, TEXT)[0] == 0


def test_the_package_is_light() -> None:
    """Nothing heavy before a view is asked for."""
    code = (
        "import sys, nlpipe; assert nlpipe.inspect.VIEWS; "
        "heavy = {'torch', 'transformers', 'captum', 'numpy', 'rich'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_all_names_are_there() -> None:
    assert set(VIEWS) < set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing


def documented() -> list[list[str]]:
    """The commands of the page, as words."""
    page = (ROOT / "docs" / "inspect.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    joined = "".join(blocks).replace("\\\n", " ")
    return [shlex.split(line[2:]) for line in joined.splitlines() if line.startswith("$ ")]


STAND_INS = {"openai-community/gpt2": "gpt2", "google-bert/bert-base-uncased": "bert", "google-t5/t5-small": "t5"}


def test_the_documented_commands_run(
    run: Run,
    folder: Callable[[str], Path],
    artifact: Path,
    minilm: Subject,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tiny models stand in for those of the Hub and for the one that the reader has trained."""
    monkeypatch.chdir(tmp_path)
    opened: dict[str, Subject] = {}
    load = package.load
    monkeypatch.setattr(
        package, "load", lambda name, **options: opened.get(name) or opened.setdefault(name, load(name, **options))
    )  # each model once: reading weights takes longer than looking at them
    seen = set()
    for words in documented():
        assert words[:2] == ["nlpipe", "inspect"], words
        named = words[1:]
        for name, own in {"runs/quickstart": artifact, **{n: folder(tiny) for n, tiny in STAND_INS.items()}}.items():
            named = [word.replace(name, str(own)) for word in named]
        code, _, said = run(*named)
        assert code == 0, (words, said)
        seen.add(words[2])
    assert seen == set(VIEWS)


def test_the_documented_settings_are_all(folder: Callable[[str], Path]) -> None:
    import inspect

    page = (ROOT / "docs" / "inspect.md").read_text(encoding="utf-8")
    for what in VIEWS:
        row = re.search(rf"^\| `{what}` \|.*$", page, re.MULTILINE)
        assert row, what
        settings = [
            p.name for p in inspect.signature(getattr(package, what)).parameters.values() if p.kind is p.KEYWORD_ONLY
        ]
        assert [name for name in settings if f"`{name}`" not in row[0]] == []
