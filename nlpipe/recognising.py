"""Which tasks an untouched model was trained for, by its class and the files beside it. Knows no task by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nlpipe import backbone, upstream
from nlpipe.errors import ArtifactError
from nlpipe.sentence_files import MODULES

if TYPE_CHECKING:
    from nlpipe.locating import Location
    from nlpipe.plugins import Plugins
    from nlpipe.task import Task


def fitting(location: Location, plugins: Plugins) -> list[str]:
    """The tasks whose usual way of asking the model has a trained head for, the most general first by name.

    A folder of sentence-transformers fits those that ask for vectors. A task that is a special case of another (its
    subclass), and one that answers from a collection, are left out where the other, or one without, fits as well.
    """
    config = upstream.read_config(location.folder)
    family = backbone.family_of(config)
    vectors = (location.folder / MODULES).is_file()
    classes = set(config.architectures or ())

    def fits(kind: type[Task[Any, Any, Any, Any]]) -> bool:
        usual = next(iter(kind.row().get(family, ())), None)
        if usual is None or vectors or usual.head is None:
            return usual is not None and vectors and usual.head is None
        return not upstream.class_names(usual.head, config).isdisjoint(classes)

    found = {name: kind for name, kind in plugins.tasks.items() if fits(kind)}
    general = {
        name: kind
        for name, kind in found.items()
        if not any(kind is not other and issubclass(kind, other) for other in found.values())
    }
    return sorted([name for name, kind in general.items() if kind.Item is None] or general)


def recognised(location: Location, plugins: Plugins) -> str:
    """The one task that a model fits. Raises ArtifactError where it fits several, naming them, or none."""
    found = fitting(location, plugins)
    if len(found) == 1:
        return found[0]
    if found:
        raise ArtifactError(
            f"{location.name} can be asked as {', '.join(found)}: say which (--task, or the first argument)"
        )
    raise ArtifactError(
        f"{location.name} does not say what it was trained for. Say the task (--task, or the first argument), or "
        "fine-tune it with a recipe first (nlpipe recipe new)"
    )
