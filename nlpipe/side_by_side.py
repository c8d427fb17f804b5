"""Several adapters on one base in memory: a pipeline for each, and calls that name which is to answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from nlpipe import adapter, artifact, backbone, batching, plugin_calls
from nlpipe.answering import LOOK_AHEAD, Asked
from nlpipe.card import Card, read_card
from nlpipe.errors import ArtifactError, DataError, UnsupportedError, suggest
from nlpipe.inputs import as_input, several
from nlpipe.locating import Location
from nlpipe.objectives.base import Query
from nlpipe.pipelines import Pipeline, asked_as
from nlpipe.runners.shared import AdapterRunner, Mixed, Store, Told
from nlpipe.runners.torch import TorchRunner

if TYPE_CHECKING:
    from nlpipe.objectives.base import Objective, Row
    from nlpipe.plugins import Plugins
    from nlpipe.tokens import Tokenizers

_NONE: Any = object()


class Adapters(Mapping[str, Pipeline]):
    """Pipelines by name that share one base. `pipes("…", adapter="a")` answers as `pipes["a"]("…")` does.

    Rows of different adapters are read in one pass where PEFT can: LoRA's, on heads of one kind and size. Any
    other adapters take turns. Made by `nlpipe.load`; safe to call from several threads.
    """

    def __init__(self, pipes: Mapping[str, Pipeline]) -> None:
        self._pipes = dict(pipes)

    def __getitem__(self, name: str) -> Pipeline:
        """The pipeline of one adapter. Raises UnsupportedError for a name that is none, with those there are."""
        if name not in self._pipes:
            raise UnsupportedError(f"no adapter is called {name!r}; {suggest(str(name), self._pipes)}")
        return self._pipes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._pipes

    def __iter__(self) -> Iterator[str]:
        return iter(self._pipes)

    def __len__(self) -> int:
        return len(self._pipes)

    def close(self) -> None:
        """Let go of all models, once calls that are running have ended."""
        for pipe in self._pipes.values():
            pipe.close()

    def __call__(self, inputs: Any, *, adapter: str | Sequence[str] | None = None, **options: Any) -> Any:
        """The Result of one input, or the Results of a list; `adapter` names who answers all of them, or each.

        `options` are those of a call of the pipelines. Raises UnsupportedError for an unknown adapter, DataError where
        names and inputs are not equally many.
        """
        if adapter is None:
            raise UnsupportedError(f"say which adapter is to answer, adapter='…'; {suggest('', self._pipes)}")
        if isinstance(adapter, str):
            return self[adapter](inputs, **options)
        if not isinstance(inputs, list | tuple):
            raise DataError("one input is answered by one adapter: give its name, or a list of inputs")
        return list(self.map(inputs, adapter=adapter, **options))

    def map(self, inputs: Iterable[Any], *, adapter: str | Iterable[str], **options: Any) -> Iterator[Any]:
        """Results in the order of the inputs, in constant memory; `adapter` as in a call."""
        if isinstance(adapter, str):
            return self[adapter].map(inputs, **options)
        given = several(inputs, "inputs", "pipes(one, adapter='…')")
        return self._map(given, several(adapter, "adapter", "its name"), options)

    def _map(self, inputs: Iterable[Any], names: Iterable[str], options: Mapping[str, Any]) -> Iterator[Any]:
        pipes = {name: pipe.called(options) for name, pipe in self._pipes.items()} if options else self._pipes
        pairs, first = _paired(inputs, names), 0
        while chunk := list(islice(pairs, LOOK_AHEAD)):
            for _, name in chunk:
                self[name]  # known, or an error before anything is computed
            found: list[Any] = [None] * len(chunk)
            for members in _together(pipes, chunk):
                answers = _answers(pipes, {first + at: chunk[at] for at in members})
                for at, result in zip(members, answers, strict=True):
                    found[at] = result
            yield from found
            first += len(chunk)


def _paired(inputs: Iterable[Any], names: Iterable[str]) -> Iterator[tuple[Any, str]]:
    for pair in zip_longest(inputs, names, fillvalue=_NONE):
        if pair[0] is _NONE or pair[1] is _NONE:
            raise DataError("there are not as many inputs as names of adapters; give one name for all, or one each")
        yield pair


def _together(pipes: Mapping[str, Pipeline], chunk: Sequence[tuple[Any, str]]) -> list[list[int]]:
    """The places of the rows that can share passes: those of one model, each other adapter's for itself."""
    groups: dict[int, list[int]] = {}
    for at, (_, name) in enumerate(chunk):
        runner = pipes[name].runner
        groups.setdefault(id(runner.mixed if isinstance(runner, AdapterRunner) else runner), []).append(at)
    return list(groups.values())


def _answers(pipes: Mapping[str, Pipeline], numbered: Mapping[int, tuple[Any, str]]) -> list[Any]:
    """The Results of rows that can share passes; each stands under its number among all inputs, which errors name."""
    rows = list(numbered.values())
    names = {name for _, name in rows}
    if len(names) == 1:
        answers = list(pipes[names.pop()].map([value for value, _ in rows], errors="return"))
        for number, found in zip(numbered, answers, strict=True):
            if isinstance(found, DataError):
                raise DataError(f"input {number}: {found}") from found
        return answers
    asked = []
    for number, (value, name) in numbered.items():
        pipe = pipes[name]
        try:
            given = pipe.given(value)
            query = plugin_calls.query(pipe.task, given, pipe.objective)
            asked.append(Asked(given, query, pipe.objective.encode(query, None, pipe.tokenizers)))
        except DataError as error:
            raise DataError(f"input {number}: {error}") from error
    raws = _raws(pipes, [name for _, name in rows], asked)
    results = []
    for (value, name), one, found in zip(rows, asked, raws, strict=True):
        pipe = pipes[name]
        result = plugin_calls.result(pipe.task, pipe.objective.join(one.query, one.rows, found), one.given)
        # A task that asks again does so about one input; it is rare among those of one pass.
        results.append(pipe(value) if isinstance(result, Query) else replace(result, seen=one.rows[0].seen))
    return results


def _raws(pipes: Mapping[str, Pipeline], names: Sequence[str], asked: Sequence[Asked]) -> list[list[Any]]:
    """The raw answers to each one's rows, of like length in a pass together whoever answers them."""
    rows = [(name, at, row) for at, (name, one) in enumerate(zip(names, asked, strict=True)) for row in one.rows]
    flat: list[Any] = [None] * len(rows)
    how = pipes[names[0]].runner.passes(writing=False)
    for chosen in batching.answering([row.length for _, _, row in rows], tokens=how.tokens, padding=how.padding):
        members = [rows[index] for index in chosen]
        first = pipes[members[0][0]]
        runner = first.runner
        assert isinstance(runner, AdapterRunner)
        draw = batching.rng(0, "answer")
        batch = first.objective.collate([row for _, _, row in members], first.tokenizers, answering=True, rng=draw)
        internal = [pipes[name].runner.name for name, _, _ in members]  # type: ignore[attr-defined]
        outputs = runner.mixed.compute(first.objective, batch, internal)
        for name in dict.fromkeys(name for name, _, _ in members):
            own = [place for place, member in enumerate(members) if member[0] == name]
            part = replace(
                batch,
                inputs={key: values[own] for key, values in batch.inputs.items()},
                rows=[batch.rows[place] for place in own],
            )
            told = Told({key: values[own] for key, values in outputs.items()})
            for place, raw in zip(own, pipes[name].objective.predict(told, part, {}), strict=True):
                flat[chosen[place]] = raw
    found: list[list[Any]] = [[] for _ in asked]
    for (_, at, _), raw in zip(rows, flat, strict=True):
        found[at].append(raw)
    return found


def load(
    folders: Mapping[str, str | Path],
    *,
    device: torch.device,
    dtype: torch.dtype,
    long: Literal["window", "truncate", "error"] | None,
    offline: bool,
    plugins: Plugins,
) -> Adapters:
    """Pipelines of adapters that were trained on one base.

    Raises ArtifactError for a folder that holds no adapter, and where bases differ, UnsupportedError for no folder.
    """
    if not folders:
        raise UnsupportedError("no adapter to load: give a mapping of names to model folders")
    places = {name: Path(folder).expanduser() for name, folder in folders.items()}
    cards = {name: read_card(folder) for name, folder in places.items()}
    _check(places, cards)
    shelf = _Shelf(device, dtype, offline, plugins)
    if long is not None:
        cards = {n: c.model_copy(update={"window": replace(c.window, long=long)}) for n, c in cards.items()}
    return Adapters({name: shelf.pipeline(places[name], card) for name, card in cards.items()})


def _check(places: Mapping[str, Path], cards: Mapping[str, Card]) -> None:
    for name, card in cards.items():
        if card.weights != "adapter":
            raise ArtifactError(
                f"{places[name]} ({name!r}) holds {card.weights} weights, not an adapter beside its base: only "
                "adapters can share one. Train with output.weights: adapter, or load it by itself"
            )
    first, *others = cards
    for name in others:
        one, other = cards[first].backbone, cards[name].backbone
        if one.sha256 != other.sha256:
            raise ArtifactError(
                f"{first!r} and {name!r} were trained on different bases, {one.name} (sha256 {one.sha256}) and "
                f"{other.name} (sha256 {other.sha256}), so they cannot share one: load them apart"
            )


class _Shelf:
    """Loads adapter after adapter: onto a model that is there already where PEFT can, else a model that shares its
    weights with the others."""

    def __init__(self, device: torch.device, dtype: torch.dtype, offline: bool, plugins: Plugins) -> None:
        self.device, self.dtype, self.offline, self.plugins = device, dtype, offline, plugins
        self._store = Store()
        self._hosts: dict[tuple[Any, ...], Mixed] = {}
        self._added = 0

    def pipeline(self, folder: Path, card: Card) -> Pipeline:
        """The pipeline of the adapter in a folder."""
        kind = self.plugins.task(card.task)
        task = kind(card.labels, kind.Options.model_validate(card.options))
        objective = asked_as(card, task)
        query = plugin_calls.query(task, as_input(_input(kind), task), objective)
        key = (card.objective, objective.outputs, card.attention, card.quantize)
        if host := self._hosts.get(key):
            tok = backbone.tokenizers(Location(str(folder), folder), host.model.config)
            self._added += 1
            name = f"added{self._added}"  # a user's name may have dots, which PEFT does not take
            if adapter.add(host.model, folder / artifact.ADAPTER, name):
                if _mixes(host, objective, objective.encode(query, None, tok)[0], tok, name):
                    return Pipeline(card, AdapterRunner(host, name), tok, plugins=self.plugins)
                adapter.remove(host.model, name)
        loaded = artifact.load(folder, card, objective, dtype=self.dtype, offline=self.offline)
        tok = loaded.tokenizers
        runner = TorchRunner(loaded.model, self.device)
        self._store.share(loaded.model)
        if objective.one_graph and key not in self._hosts:
            mixed = Mixed(loaded.model, self.device)
            if _mixes(mixed, objective, objective.encode(query, None, tok)[0], tok, adapter.FIRST):
                self._hosts[key], runner = mixed, AdapterRunner(mixed, adapter.FIRST)
        return Pipeline(card, runner, tok, plugins=self.plugins)


def _input(kind: Any) -> dict[str, Any]:
    sample = kind.samples()[0]
    return {name: getattr(sample, name) for name in kind.Input.model_fields}


def _mixes(mixed: Mixed, objective: Objective, row: Row, tok: Tokenizers, name: str) -> bool:
    """Whether PEFT reads rows of this adapter and of the model's first in one pass: it says so when asked."""
    adapter.let_mix(mixed.model)
    batch = objective.collate([row, row], tok, answering=True, rng=batching.rng(0, "answer"))
    return mixed.able(objective, batch, [adapter.FIRST, name])
