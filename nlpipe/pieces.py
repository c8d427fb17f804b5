"""What Accelerate's configuration asks for beyond several processes: weights in pieces, and what is a recipe's to say.

`accelerate launch --config_file FILE` tells it in the environment. Knows no model and loads nothing.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from importlib.util import find_spec

from nlpipe.errors import RecipeError, UnsupportedError
from nlpipe.recipe_sections import Recipe

__all__ = ["asked", "require"]

FSDP, DEEPSPEED = "FSDP", "DeepSpeed"

log = logging.getLogger("nlpipe")

_ASKED = {
    FSDP: "ACCELERATE_USE_FSDP",
    DEEPSPEED: "ACCELERATE_USE_DEEPSPEED",
    "Megatron-LM": "ACCELERATE_USE_MEGATRON_LM",
    "a parallelism_config": "ACCELERATE_USE_PARALLELISM_CONFIG",
}

# What the configuration may say and a recipe decides, or nlpipe: its name, the value that leaves it to us, who decides.
_OURS = {
    "ACCELERATE_MIXED_PRECISION": ("mixed_precision", "no", "train.precision says it"),
    "ACCELERATE_DYNAMO_BACKEND": ("dynamo_backend", "no", "train.compile says it"),
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": (
        "gradient_accumulation_steps",
        "1",
        "train.batch_size and train.micro_batch say it",
    ),
    "ACCELERATE_GRADIENT_CLIPPING": ("gradient_clipping", "auto", "train.clip says it"),
    "FSDP_CPU_RAM_EFFICIENT_LOADING": (
        "fsdp_cpu_ram_efficient_loading",
        "false",
        "every process reads the whole model, and keeps it beside its pieces",
    ),
    "ACCELERATE_DEEPSPEED_ZERO3_INIT": (
        "zero3_init_flag",
        "false",
        "every process reads the whole model, and keeps it beside its pieces",
    ),
}


def asked(environ: MutableMapping[str, str]) -> str | None:
    """Who is to cut the weights into pieces: "FSDP", "DeepSpeed", another name that is refused, or None."""
    return next((name for name, variable in _ASKED.items() if _true(environ, variable)), None)


def require(recipe: Recipe, processes: int, environ: MutableMapping[str, str], *, resume: bool = False) -> None:
    """Raise where the configuration asks for what a run cannot do, and take back what is the recipe's to say.

    UnsupportedError names the setting of Accelerate's or of the recipe's; RecipeError says that there is one process.
    """
    _take_back(environ)
    name = asked(environ)
    if name is None:
        return
    if name not in (FSDP, DEEPSPEED):
        raise UnsupportedError(
            f"Accelerate's configuration asks for {name}, which nlpipe cannot train with; it can with "
            "distributed_type: MULTI_GPU, FSDP (fsdp_version: 2) or DEEPSPEED"
        )
    if processes == 1:
        raise RecipeError(
            f"Accelerate's configuration asks for {name}, and there is one process, which would keep everything: start "
            "several (num_processes in the configuration), or leave the configuration out"
        )
    problem = _fsdp(environ) if name == FSDP else _deepspeed(environ)
    if problem is not None:
        raise UnsupportedError(f"Accelerate's configuration asks for {name}: {problem}")
    if name == DEEPSPEED and resume:
        raise UnsupportedError(
            "a run with DeepSpeed cannot be resumed: what its optimizer keeps lies in pieces without names. Start "
            "anew, or take FSDP, which can"
        )
    if setting := _recipes(recipe):
        raise UnsupportedError(f"{setting} does not go with {name}, which cuts the weights into pieces: leave one out")


def _fsdp(environ: MutableMapping[str, str]) -> str | None:
    if environ.get("FSDP_VERSION", "1") != "2":
        return "say fsdp_version: 2 in it (the older one has no weights by name); `accelerate to-fsdp2` rewrites a file"
    if _true(environ, "FSDP_ACTIVATION_CHECKPOINTING"):
        return "leave fsdp_activation_checkpointing out, and say train.gradient_checkpointing: true in the recipe"
    return None


def _deepspeed(environ: MutableMapping[str, str]) -> str | None:
    environ["ACCELERATE_DEEPSPEED_ZERO3_INIT"] = "false"  # where nothing is said, Accelerate takes it for true
    return None if find_spec("deepspeed") else "it is not installed; pip install deepspeed"


def _recipes(recipe: Recipe) -> str | None:
    """The setting of a recipe that cannot be done with weights in pieces."""
    if recipe.train is not None and recipe.train.compile:
        return "train.compile"
    if recipe.train is not None and recipe.train.optimizer == "adafactor":
        return "train.optimizer: adafactor (it needs the rows and columns of whole matrices)"
    if recipe.model.quantize is not None:
        return "model.quantize"
    if recipe.adapter is not None and recipe.adapter.method == "adalora":
        return "adapter.method: adalora (it shares ranks out by the gradients of whole weights)"
    return None


def _take_back(environ: MutableMapping[str, str]) -> None:
    for variable, (name, neutral, why) in _OURS.items():
        if environ.get(variable, neutral).lower() not in (neutral, "none", "0"):
            log.warning("%s in Accelerate's configuration is not looked at: %s", name, why)
            environ[variable] = neutral


def _true(environ: MutableMapping[str, str], variable: str) -> bool:
    return environ.get(variable, "").lower() in ("true", "1", "yes")
