"""Imports go one way, and each heavy library has one door."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from textwrap import dedent

import pytest

import nlpipe

from .source import CORE, PLUGINS, Import, Module, imports, modules

# From the lowest layer to the highest. A module may import its own layer and those below it; a package stands
# for all that is in it.
LAYERS = (
    "ahead arguments errors files launching pages processors starting upstream upstream_cache tokens vocabulary",
    "task details results events metrics metrics_text hookspecs resources",
    "adapter_methods generation inputs recipe recipe_adapter recipe_files recipe_new recipe_sections recipe_sources "
    "recipe_sweep recipe_text recipe_training recipe_words recipe_yaml rows",
    "arrays objectives tensors batching plugins plugin_calls plugin_contract plugin_records plugin_settings",
    "answering artifact card data devices hub intake locating journal parsers readers shares writers adapter "
    "adapter_prompts adapter_targets adapter_training world pieces freezing backbone pairs runners parity "
    "metrics_evaluate bare beir memory optimization scratch sentence_files exported kept_tokens",
    "batcher loading pipelines recognising side_by_side untouched",
    "languages significance slices slice_search measured report",
    "train training spreading evaluation comparing checkpoint optimizer_state preparing adapting stopping rundir cards "
    "progress tracking event_log inspect",
    "checking",
    "exporting launchers many running scaffold reporting data_check doctor engines grid predicting predictions "
    "ray_data scored tables",
    "plugin_check testing smoke",
    "cli_parts cli_groups cli compat __main__",
)
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer.split()}

# Who may import what, and why. Any other import of these packages is a mistake.
DOORS = {
    "transformers": {
        "upstream": "every call that changes with its version stands in one file",
        "upstream_cache": "the same door, for a loop of ours that writes into its caches",
        "testing": "tiny models are made from its configs",
        "exporting": "its exporters, in one file (graphs.py)",
    },
    "pandas": {
        "data": "frames are one form of data among others",
        "readers": "the same door, where files are read",
        "results": "to_frame, late",
    },
    "datasets": {
        "data": "data sets are one form of data among others",
        "hub": "the same door, where they come from the Hub",
        "metrics_evaluate": "a metric of evaluate declares its features with it",
    },
    "peft": {"adapter": "what PEFT guesses or loses is put right in one file"},
    "accelerate": {"spreading": "one loop, one user", "tracking": "its trackers, which know no loop"},
    "evaluate": {"metrics_evaluate": "importing it takes 11 s, and every metric of ours does without it"},
    "py3langid": {"languages": "an extra, and one model file"},
    "captum": {"inspect": "one view needs it, in one file (attribution.py)"},
    "ray": {"ray_data": "one engine of several, in one file"},
    "pluggy": {"hookspecs": "the markers", "plugins": "the manager"},
    "typer": dict.fromkeys(("cli", "cli_groups", "cli_parts"), "commands are nobody else's business"),
}

# What a plugin sees of nlpipe: the contract, and no file, device, batch or recipe.
CONTRACT = {
    "errors",
    "task",
    "details",
    "results",
    "events",
    "metrics",
    "metrics_evaluate",
    "metrics_text",
    "hookspecs",
    "objectives",
}

# Packages that cost seconds; the modules that are loaded on every start import them late or not at all.
HEAVY = {"torch", "transformers", "pandas", "peft", "datasets", "evaluate", "accelerate", "sklearn"}
LOADED_LATE = {"upstream", "upstream_cache", "tokens", "tensors", "batching"}  # by whoever computes, at its first use
LIGHT = {name for name, rank in RANK.items() if rank <= RANK["objectives"]} - LOADED_LATE

NAMES = {module.name for module in modules(CORE)}


def resolved(target: str) -> str:
    """The module of ours that an imported name comes from: `nlpipe.errors` for `nlpipe.errors.DataError`."""
    if target.startswith("nlpipe.") and (late := nlpipe._LATE.get(target.removeprefix("nlpipe."))):
        return f"nlpipe.{late}"
    while target not in NAMES and "." in target:
        target = target.rpartition(".")[0]
    return target


def placed(name: str) -> str:
    """The word by which the tables know a module: `objectives` for `nlpipe.objectives.base`."""
    return name.split(".")[1] if "." in name else ""


def ours(module: Module) -> list[tuple[Import, str]]:
    """What a module imports of nlpipe itself, resolved. The package's version is below everything."""
    found = ((imported, resolved(imported.target)) for imported in module.imports if imported.package == "nlpipe")
    return [(imported, target) for imported, target in found if target != "nlpipe"]


# The package's root is a list of names from all layers; it loads them late.
CORE_MODULES = [module for module in modules(CORE) if module.name != "nlpipe"]


def test_every_module_has_its_place() -> None:
    missing = {placed(module.name) for module in CORE_MODULES} - set(RANK)
    assert not missing, f"place it in the table LAYERS of {__file__}: {sorted(missing)}"


def test_imports_go_one_way() -> None:
    wrong = [
        f"{module.at(imported.line)} imports {target}, which lies in a layer above"
        for module in CORE_MODULES
        for imported, target in ours(module)
        if RANK.get(placed(target), len(LAYERS)) > RANK.get(placed(module.name), len(LAYERS))
    ]
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other() -> None:
    graph = {module.name: {target for _, target in ours(module)} for module in CORE_MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' ← '.join(error.args[1])}")


def test_heavy_libraries_have_one_door() -> None:
    wrong = [
        f"{module.at(imported.line)} imports {imported.package}, not through {' or '.join(DOORS[imported.package])}"
        for module in (*modules(CORE), *modules(PLUGINS))
        for imported in module.imports
        if imported.package in DOORS and placed(module.name) not in DOORS[imported.package]
    ]
    assert not wrong, "\n".join(wrong)


def test_a_plugin_imports_the_contract_and_nothing_else_of_ours() -> None:
    wrong = [
        f"{module.at(imported.line)} imports {target}; a plugin may use {', '.join(sorted(CONTRACT))}"
        for module in modules(PLUGINS)
        for imported, target in ours(module)
        if placed(target) not in CONTRACT
    ]
    assert not wrong, "\n".join(wrong)


def test_a_plugin_imports_no_other_plugin() -> None:
    """Each is a distribution of its own, as far as it knows."""
    packages = {module.name.partition(".")[0] for module in modules(PLUGINS)}
    wrong = [
        f"{module.at(imported.line)} imports {imported.target}"
        for module in modules(PLUGINS)
        for imported in module.imports
        if imported.package in packages and imported.package != module.name.partition(".")[0]
    ]
    assert not wrong, "\n".join(wrong)


def test_what_every_start_loads_imports_heavy_libraries_late() -> None:
    wrong = [
        f"{module.at(imported.line)} imports {imported.package} when it is itself imported"
        for module in (*modules(CORE), *modules(PLUGINS))
        if placed(module.name) in LIGHT or module not in CORE_MODULES
        for imported in module.imports
        if imported.package in HEAVY and not imported.late
    ]
    assert not wrong, "\n".join(wrong)


def test_the_reader_of_imports_sees_all_kinds() -> None:
    """The rules above are only as good as this."""
    text = """
        import a.b as c
        from . import sibling
        from ..other import name
        if TYPE_CHECKING:
            import never
        else:
            import otherwise
        def function():
            from late import thing
        class Body:
            import in_class
        try:
            import_module("by.name")
        except ImportError:
            lambda: importlib.import_module("by.attribute")
    """
    found = {(i.target, i.late) for i in imports(ast.parse(dedent(text)), "nlpipe.deep")}
    assert found == {
        ("a.b", False),
        ("nlpipe.deep.sibling", False),
        ("nlpipe.other.name", False),
        ("otherwise", False),
        ("late.thing", True),
        ("in_class", False),
        ("by.name", False),
        ("by.attribute", True),
    }
    assert resolved("nlpipe.errors.DataError") == "nlpipe.errors"
    assert resolved("nlpipe.errors") == "nlpipe.errors"
    assert resolved("nlpipe.Pipeline") == "nlpipe.pipelines"
    assert resolved("nlpipe.__version__") == "nlpipe"
