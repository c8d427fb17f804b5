"""The three hooks of a plugin. A module that implements one marks it with `@nlpipe.hookimpl`.

A hook grows by arguments, which an implementation need not take; one that goes away is marked with
`warn_on_impl_args` (or `warn_on_impl`, a whole hook) for a release before it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from nlpipe.events import Event
    from nlpipe.task import Task

hookspec = pluggy.HookspecMarker("nlpipe")
hookimpl = pluggy.HookimplMarker("nlpipe")

API_VERSION = "1.0"
"""The version of the contract for plugins: this file, `task.py` and `objectives/base.py`.

The second number counts additions, the first changes that a plugin has to follow. A plugin's module states the range
that it supports, `nlpipe_api = ">=1.0,<2"`; outside it the plugin is skipped.
"""


@hookspec
def nlpipe_tasks() -> Iterable[type[Task[Any, Any, Any, Any]]]:  # type: ignore[empty-body]
    """The task classes this plugin brings."""


@hookspec(firstresult=True)
def nlpipe_dataset(source: str) -> Mapping[str, Any] | None:
    """Read a data source that nlpipe does not know, such as `mydb://reviews`.

    `source` is the text given in the recipe. The answer is a mapping from split name (`train`,
    `validation`, `test`) to a pandas DataFrame, or a `datasets.DatasetDict`; None hands the source on
    to the next plugin and then to nlpipe's own readers.
    """


@hookspec
def nlpipe_event(event: Event) -> None:
    """See an event of a run as it happens (`nlpipe.events`). An exception here is reported, and the run goes on."""
