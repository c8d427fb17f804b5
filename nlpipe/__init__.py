"""nlpipe: declarative recipes that fine-tune, measure and serve language models of any family.

The heavy names arrive on first use (PEP 562), so that `import nlpipe` loads neither torch nor transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nlpipe.errors import ArtifactError, DataError, NlpipeError, PluginError, RecipeError, UnsupportedError
from nlpipe.hookspecs import API_VERSION, hookimpl

if TYPE_CHECKING:
    from nlpipe.loading import load, pipeline
    from nlpipe.metrics import Metric
    from nlpipe.objectives import Objective
    from nlpipe.pipelines import Pipeline
    from nlpipe.recipe import Recipe
    from nlpipe.results import Answer, Entities, Label, Ranked, Ranking, Result, Similarity, Span
    from nlpipe.running import RunReport, run
    from nlpipe.side_by_side import Adapters
    from nlpipe.task import Family, Format, FormatRow, Note, Record, Task, TaskOptions

__version__ = "0.1.0"

# A module may not share its name with a function of the package: importing the module would replace the function.
# Hence `pipelines.py` and `running.py` beside `nlpipe.pipeline` and `nlpipe.run`.
_LATE = {
    "Adapters": "side_by_side",
    "Answer": "results",
    "Entities": "results",
    "Family": "task",
    "Format": "task",
    "FormatRow": "task",
    "Label": "results",
    "Metric": "metrics",
    "Note": "task",
    "Objective": "objectives",
    "Pipeline": "pipelines",
    "Ranked": "results",
    "Ranking": "results",
    "Recipe": "recipe",
    "Record": "task",
    "Result": "results",
    "RunReport": "running",
    "Similarity": "results",
    "Span": "results",
    "Task": "task",
    "TaskOptions": "task",
    "load": "loading",
    "pipeline": "loading",
    "run": "running",
}

__all__ = [
    "API_VERSION",
    "Adapters",
    "Answer",
    "ArtifactError",
    "DataError",
    "Entities",
    "Family",
    "Format",
    "FormatRow",
    "Label",
    "Metric",
    "NlpipeError",
    "Note",
    "Objective",
    "Pipeline",
    "PluginError",
    "Ranked",
    "Ranking",
    "Recipe",
    "RecipeError",
    "Record",
    "Result",
    "RunReport",
    "Similarity",
    "Span",
    "Task",
    "TaskOptions",
    "UnsupportedError",
    "__version__",
    "hookimpl",
    "load",
    "pipeline",
    "run",
]


def __getattr__(name: str) -> Any:
    if name in ("compat", "inspect"):  # packages of their own, so that `nlpipe.inspect.tokens` needs no further import
        return importlib.import_module(f"nlpipe.{name}")
    if name not in _LATE:
        raise AttributeError(f"module 'nlpipe' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"nlpipe.{_LATE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
