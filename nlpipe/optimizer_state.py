"""An optimiser's state without pickles: values that JSON can say, and tensors, both by parameter name.

Names, not torch's running numbers: a number silently means another parameter once a layer is frozen or a
group is added. Knows any `torch.optim.Optimizer`, and no files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from nlpipe.errors import ArtifactError

Taken = tuple[dict[str, Any], dict[str, torch.Tensor]]
"""What `take` gives: values that JSON can say, and tensors by `parameter name/key`."""


def parameter_names(optimizer: torch.optim.Optimizer, named: Iterable[tuple[str, torch.nn.Parameter]]) -> list[str]:
    """The names of an optimiser's parameters in its own order, by identity in `model.named_parameters()`.

    Raises ValueError where the optimiser holds a parameter that `named` does not.
    """
    known = {id(parameter): name for name, parameter in named}
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    strangers = sum(id(parameter) not in known for parameter in held)
    if strangers:
        raise ValueError(f"{strangers} of the optimiser's {len(held)} parameters are not the model's")
    return [known[id(parameter)] for parameter in held]


def take(optimizer: torch.optim.Optimizer, names: Sequence[str]) -> Taken:
    """The optimiser's state as JSON values and as tensors by `parameter name/key`; `restore` puts it back.

    `names` are its parameters in its own order. The tensors are the optimiser's own, not copies. Raises
    ValueError where names and parameters do not fit one to one, and TypeError for a value that JSON cannot
    say.
    """
    tensors: dict[str, torch.Tensor] = {}
    shapes = _shapes(optimizer, names)
    content = optimizer.state_dict()
    groups = _by_name(content["param_groups"], names)
    state = {names[index]: value for index, value in content["state"].items()}
    values = {
        "shapes": shapes,
        "groups": [_pack(group, f"group {index}", tensors) for index, group in enumerate(groups)],
        "state": {name: _pack(value, name, tensors) for name, value in state.items()},
    }
    return values, tensors


def restore(
    optimizer: torch.optim.Optimizer,
    names: Sequence[str],
    values: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
) -> None:
    """Give an optimiser the state that `take` took: every tensor's bits and dtype, every group's settings.

    Groups may stand in another order than they did. `tensors` may become the optimiser's own. Raises
    ArtifactError where the groups do not hold the same parameters in the same shapes.
    """
    _same_parameters(values["shapes"], _shapes(optimizer, names))
    content = _unpack(values, tensors)
    saved = {frozenset(group["params"]): group for group in content["groups"]}
    at = {name: index for index, name in enumerate(names)}
    groups = []
    for group in _by_name(optimizer.param_groups, names):
        found = saved.get(frozenset(group["params"]))
        if found is None:
            raise ArtifactError("the optimiser's parameters are grouped otherwise")
        groups.append({**found, "params": [at[name] for name in group["params"]]})
    state = {at[name]: value for name, value in content["state"].items()}
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    _keep_dtypes(optimizer, state)


def _shapes(optimizer: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, list[int]]:
    """Each parameter's shape by name. Raises ValueError where the names do not fit one to one."""
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if len(held) != len(names) or len(set(names)) != len(names):
        raise ValueError(f"{len(set(names))} different names for the optimiser's {len(held)} parameters")
    return {name: list(parameter.shape) for name, parameter in zip(names, held, strict=True)}


def _by_name(groups: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Parameter groups with names for parameters: torch numbers them through the groups, in order."""
    remaining = iter(names)
    return [{**group, "params": [next(remaining) for _ in group["params"]]} for group in groups]


def _same_parameters(saved: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    names = [name for name in dict.fromkeys([*saved, *present]) if saved.get(name) != present.get(name)]
    if names:
        shown = ", ".join(
            f"{name} was {saved.get(name, 'not there')}, is {present.get(name, 'not there')}" for name in names[:3]
        )
        raise ArtifactError(f"{len(names)} parameters differ: {shown}{', …' if len(names) > 3 else ''}")


def _keep_dtypes(optimizer: torch.optim.Optimizer, state: Mapping[int, Mapping[str, Any]]) -> None:
    """Undo torch's cast to the parameters' dtype: float32 moments of bfloat16 weights stay float32."""
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, values in state.items():
        loaded = optimizer.state[held[index]]
        for key, value in values.items():
            if isinstance(value, torch.Tensor) and value.dtype != loaded[key].dtype:
                loaded[key] = value.to(loaded[key].device)


def _pack(value: Any, place: str, tensors: dict[str, torch.Tensor]) -> Any:
    """`value` as JSON that `_unpack` turns back exactly; tensors go to `tensors` under their place."""
    if isinstance(value, torch.Tensor):
        tensors[place] = value
        return {"$tensor": place}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _pack(item, f"{place}/{key}", tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        packed = [_pack(item, f"{place}/{index}", tensors) for index, item in enumerate(value)]
        return {"$tuple": packed} if isinstance(value, tuple) else packed
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"the optimiser's {place} is a {type(value).__name__}, which a checkpoint cannot hold")


def _unpack(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"$tensor"}:
        return tensors[value["$tensor"]]
    if value.keys() == {"$tuple"}:
        return tuple(_unpack(item, tensors) for item in value["$tuple"])
    return {key: _unpack(item, tensors) for key, item in value.items()}
