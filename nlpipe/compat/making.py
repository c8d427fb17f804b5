"""`nlpipe.compat.pipeline`: version 4's arguments to one of its pipelines."""

from __future__ import annotations

from typing import Any

from nlpipe import artifact, card, locating, upstream
from nlpipe.compat import models, names
from nlpipe.compat.answers import QuestionAnsweringPipeline
from nlpipe.compat.base import Pipeline
from nlpipe.compat.blanks import FeatureExtractionPipeline, FillMaskPipeline
from nlpipe.compat.labels import TextClassificationPipeline, ZeroShotClassificationPipeline
from nlpipe.compat.settings import SETTINGS
from nlpipe.compat.tags import TokenClassificationPipeline
from nlpipe.compat.writing import (
    SummarizationPipeline,
    Text2TextGenerationPipeline,
    TextGenerationPipeline,
    TranslationPipeline,
)
from nlpipe.errors import UnsupportedError, suggest

PIPELINES: dict[str, type[Pipeline[Any]]] = {
    "text-classification": TextClassificationPipeline,
    "zero-shot-classification": ZeroShotClassificationPipeline,
    "token-classification": TokenClassificationPipeline,
    "question-answering": QuestionAnsweringPipeline,
    "summarization": SummarizationPipeline,
    "translation": TranslationPipeline,
    "text2text-generation": Text2TextGenerationPipeline,
    "text-generation": TextGenerationPipeline,
    "fill-mask": FillMaskPipeline,
    "feature-extraction": FeatureExtractionPipeline,
}

ARGUMENTS: dict[str, str] = {
    "task": "a name of version 4; left out, what the model's config says it is",
    "model": "a Hub name, a folder (nlpipe's own too), `package:NAME/PATH`, or a loaded model with `tokenizer`; left "
    "out, the model that version 4 took, with a warning",
    "config": "refused: a model's config lies in its folder",
    "tokenizer": "a name, a folder or a loaded tokenizer in place of the model's own",
    "feature_extractor": "refused: for sounds and images",
    "image_processor": "refused: for images",
    "processor": "refused: for sounds and images",
    "modelcard": "accepted, does nothing: nothing was ever done with it",
    "framework": "only `pt`: TensorFlow and Flax are gone from transformers 5",
    "revision": "a branch, a tag or a commit on the Hub",
    "use_fast": "accepted, does nothing: transformers 5 has one tokenizer for each model",
    "token": "a Hub token; True and None: that of `hf auth login` or `HF_TOKEN`",
    "use_auth_token": "the old name of token",
    "device": "-1 or `cpu`, the number of a GPU, a name or a torch.device; left out, a GPU where there is one. The "
    "number of a GPU where there is none: the processor, with a warning",
    "device_map": "`auto` or `cpu`; a model lies on one device",
    "torch_dtype": "the old name of dtype",
    "dtype": "as a name or of torch; left out or `auto`: float32, also where the files are in half precision",
    "trust_remote_code": "only False: True would run Python from the model's folder with all that you may do",
    "model_kwargs": "`torch_dtype`, `dtype`, `device_map`, `load_in_8bit` and `load_in_4bit`, `revision`, `token`; "
    "other keys are refused by name",
    "pipeline_class": "refused: write a plugin (docs/plugins.md)",
    "options": "all arguments of a call, which then hold for every call; see below",
}
"""What becomes of each argument of `pipeline`."""

_REFUSED = {
    "config": "a model's config lies in its folder",
    "feature_extractor": "nlpipe reads text alone",
    "image_processor": "nlpipe reads text alone",
    "processor": "nlpipe reads text alone",
    "pipeline_class": "write a plugin instead: docs/plugins.md",
}
_MODEL_KWARGS = ("torch_dtype", "dtype", "device_map", "load_in_8bit", "load_in_4bit", "revision", "token")


def pipeline(
    task: str | None = None,
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    feature_extractor: Any = None,
    framework: str | None = None,
    revision: str | None = None,
    use_fast: bool = True,
    use_auth_token: str | bool | None = None,
    token: str | bool | None = None,
    device: Any = None,
    device_map: Any = None,
    torch_dtype: Any = None,
    dtype: Any = None,
    trust_remote_code: bool | None = None,
    model_kwargs: dict[str, Any] | None = None,
    pipeline_class: Any = None,
    image_processor: Any = None,
    processor: Any = None,
    modelcard: Any = None,
    **options: Any,
) -> Pipeline[Any]:
    """A pipeline of transformers 4: its names, its arguments and the shapes of its answers (docs/compat.md).

    `options` are arguments of its calls. Raises UnsupportedError for a name or an argument that there was not, with the
    nearest, and for one that cannot be heard; ArtifactError where the model is not there or does another thing.
    """
    given = {
        "config": config,
        "feature_extractor": feature_extractor,
        "image_processor": image_processor,
        "processor": processor,
        "pipeline_class": pipeline_class,
    }
    _check(given, framework, trust_remote_code)
    further = _further(model_kwargs)
    if task is None and model is None:
        raise UnsupportedError("name a task, pipeline('text-classification'), or a model, pipeline(model='…')")
    name = None if task is None else names.read(task)
    secret = _secret(token, use_auth_token, further.get("token"))
    location = models.located(model, name, revision=revision or further.get("revision"), token=secret)
    if name is None:
        name = names.of_classes(models.classes(location, model), str(model))
    settings = SETTINGS[name.kind].of(name.kind, options)
    kind = PIPELINES[name.kind]
    place = models.device_of(device, device_map if device_map is not None else further.get("device_map"))
    labels = _labels(location, model)
    objective = kind.asking(labels)
    if location is None:
        if dtype is not None or torch_dtype is not None:
            raise UnsupportedError("dtype: a model that is loaded already has its own; model.to(dtype) changes it")
        moved = None if device is None and device_map is None else place
        loaded = models.wrapped(model, objective, tokenizer=tokenizer, device=moved, kind=name)
    else:
        loaded = models.opened(
            location,
            objective,
            tokenizer=tokenizer,
            device=place,
            dtype=models.dtype_of(dtype, torch_dtype, further.get("dtype"), further.get("torch_dtype")),
            quantize="8bit" if further.get("load_in_8bit") else "4bit" if further.get("load_in_4bit") else None,
            labels=labels,
            kind=name,
        )
    made = kind(name, loaded, settings)
    made.objective(settings)  # settings that do not fit the model are said at once, not with the first text
    return made


def _check(given: dict[str, Any], framework: str | None, trust_remote_code: bool | None) -> None:
    """Raise UnsupportedError for what cannot be heard."""
    for name, value in given.items():
        if value is not None:
            raise UnsupportedError(f"{name}: {_REFUSED[name]}; leave it out")
    if framework not in (None, "pt"):
        raise UnsupportedError(
            f"framework={framework!r}: transformers 5 has PyTorch alone, and so has nlpipe; leave it out. Weights of "
            "TensorFlow or Flax have to be converted once, by transformers 4"
        )
    if trust_remote_code:
        raise UnsupportedError(
            "trust_remote_code=True would run Python files from the model's folder, by whoever wrote them and with all "
            "that you may do. nlpipe does not; take a model whose architecture transformers has"
        )


def _further(model_kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """What `model_kwargs` says. Raises UnsupportedError for keys that are not heard."""
    found = {name: value for name, value in (model_kwargs or {}).items() if value is not None}
    if unknown := [name for name in found if name not in _MODEL_KWARGS]:
        hint = "; set HF_HOME instead" if unknown[0] == "cache_dir" else ""
        raise UnsupportedError(f"model_kwargs: {unknown[0]!r} is not heard{hint}; {suggest(unknown[0], _MODEL_KWARGS)}")
    return found


def _secret(*given: str | bool | None) -> str | None:
    """The Hub token that is given as one; True, False and None leave it to the environment."""
    return next((one for one in given if isinstance(one, str)), None)


def _labels(location: locating.Location | None, model: Any) -> tuple[str, ...]:
    """The names of the outputs of a model's head."""
    if location is None:
        return artifact.head_labels(model.config) if hasattr(model, "config") else ()
    if card.is_artifact(location.folder) and (own := card.read_card(location.folder).labels):
        return own
    return artifact.head_labels(upstream.read_config(location.folder))
