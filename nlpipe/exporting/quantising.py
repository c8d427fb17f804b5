"""Graphs with weights and activations in 8 bits: as many layers as a stated loss allows, the most sensitive left out.

A layer's sensitivity is how much its own output changes with 8 bits, on the user's rows; the layers that change most
stay in float32 first. What an export as a whole loses is verified afterwards, on other rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nlpipe import upstream
from nlpipe.errors import UnsupportedError
from nlpipe.exporting.graphs import quiet
from nlpipe.objectives.base import Batch, Objective
from nlpipe.runners import onnx as onnx_files
from nlpipe.runners import openvino as openvino_files

SHARES = (0.0, 0.1, 0.2, 0.35, 0.5)
"""What share of the layers is kept in float32, tried in turn: with more than half there is little left to win."""


Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """A call of a layer with weights of this shape (sorted: graphs keep some transposed), and how much its output
    changes in 8 bits, as a share of itself."""

    shape: Shape
    change: float


def sensitivity(model: torch.nn.Module, objective: Objective, batches: Sequence[Batch]) -> list[Layer]:
    """The layers in the order in which they are called, each as changed as it is on the mean over batches.

    Weights with a scale per output, activations with one for all of a batch: what the back ends do, or more coarsely.
    """
    kinds = upstream.linear_kinds()
    found: list[list[float]] = []
    shapes: list[Shape] = []
    at = 0

    def measure(module: Any, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal at
        weight = module.weight if isinstance(module, torch.nn.Linear) else module.weight.T
        plain = given[0] @ weight.T
        coarse = _activations(given[0]) @ _weights(weight).T
        if at == len(found):
            found.append([])
            shapes.append(tuple(sorted(weight.shape)))
        found[at].append(float((coarse - plain).norm() / plain.norm().clamp(min=1e-12)))
        at += 1

    hooks = [module.register_forward_hook(measure) for module in model.modules() if isinstance(module, kinds)]
    try:
        with torch.inference_mode():
            for batch in batches:
                at = 0
                objective.compute(model, batch.to("cpu"))
    finally:
        for hook in hooks:
            hook.remove()
    return [Layer(shape, sum(changes) / len(changes)) for shape, changes in zip(shapes, found, strict=True)]


def _activations(values: torch.Tensor) -> torch.Tensor:
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = max((high - low) / 255, 1e-12)
    zero = round(-low / scale)
    return ((values / scale).round() + zero).clamp(0, 255).sub(zero) * scale


def _weights(weight: torch.Tensor) -> torch.Tensor:
    scale = (weight.abs().amax(1, keepdim=True) / 127).clamp(min=1e-12)
    return (weight / scale).round() * scale


def onnx(folder: Path, target: Path, batches: Sequence[Batch], known: Sequence[Layer]) -> Iterator[tuple[int, int]]:
    """Write ever gentler forms of the graph; after each, how many layers it has, and how many of them in float32.

    Scales of weights are fixed, one per output; those of activations follow each batch. `known` is `sensitivity`.
    """
    import onnx as library
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = library.load(str(folder / onnx_files.FILE))
    constants = {one.name: tuple(sorted(one.dims)) for one in model.graph.initializer}
    # Stale notes of shapes trip ONNX Runtime's tool over weights that it lays out anew.
    notes = [one for one in model.graph.value_info if one.name not in constants]
    del model.graph.value_info[:]
    model.graph.value_info.extend(notes)
    nodes = [one for one in model.graph.node if one.op_type in ("MatMul", "Gemm") and one.input[1] in constants]
    layers = {one.name: constants[one.input[1]] for one in nodes}
    for kept in _steps(layers, known):
        with quiet():
            quantize_dynamic(
                _copy(model),
                str(target / onnx_files.FILE),
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=kept,
            )
        yield len(layers), len(kept)


def _copy(model: Any) -> Any:
    import copy

    return copy.deepcopy(model)


def openvino(folder: Path, target: Path, batches: Sequence[Batch], known: Sequence[Layer]) -> Iterator[tuple[int, int]]:
    """As `onnx`, with scales of activations fixed by the calibration rows, and outlying channels smoothed (NNCF)."""
    import nncf
    import openvino as library

    file = folder / openvino_files.FILE
    model = library.Core().read_model(file)
    nodes = [one for one in model.get_ordered_ops() if _layer(one)]
    layers = {one.get_friendly_name(): tuple(sorted(one.input_value(1).get_shape())) for one in nodes}
    given = [dict(batch.inputs) for batch in batches]
    names = {one.get_any_name() for one in model.inputs}
    for kept in _steps(layers, known):
        with quiet():
            made = nncf.quantize(
                library.Core().read_model(file),
                nncf.Dataset([{name: one[name] for name in one if name in names} for one in given]),
                subset_size=len(given),
                model_type=nncf.ModelType.TRANSFORMER,
                ignored_scope=nncf.IgnoredScope(names=kept) if kept else None,
            )
        library.save_model(made, target / openvino_files.FILE, compress_to_fp16=False)
        yield len(layers), len(kept)


def _layer(node: Any) -> bool:
    """Whether an operation multiplies by weights."""
    if node.get_type_name() != "MatMul":
        return False
    source = node.input_value(1).get_node()
    return bool(source.get_type_name() == "Constant")


def _steps(layers: Mapping[str, Shape], known: Sequence[Layer]) -> Iterator[list[str]]:
    """Which of the graph's layers stay in float32, in turn; `layers` has their names and shapes in order."""
    if not layers:
        raise UnsupportedError("the graph has no layer that could be kept in 8 bits")
    changes = _matched(list(layers.values()), known)
    ranked = sorted(layers, key=dict(zip(layers, changes, strict=True)).__getitem__, reverse=True)
    for count in dict.fromkeys(round(share * len(layers)) for share in SHARES):
        yield ranked[:count]


def _matched(shapes: Sequence[Shape], known: Sequence[Layer]) -> list[float]:
    """The change of each of the graph's layers: of the next call of a layer so large.

    A graph lacks what its outputs do not need (a pooler). One whose layers were merged has others than the model; then
    nothing is known of them, and they count alike.
    """
    found: list[float] = []
    calls = iter(known)
    for shape in shapes:
        match = next((call for call in calls if call.shape == shape), None)
        if match is None:
            return [0.0] * len(shapes)
        found.append(match.change)
    return found


Writer = Callable[[Path, Path, Sequence[Batch], Sequence[Layer]], Iterator[tuple[int, int]]]

WRITERS: dict[str, Writer] = {
    "onnx": onnx,
    "openvino": openvino,
}
"""How the graph of each back end is quantised."""

NEEDS = {"onnx": ("onnx", "onnxruntime"), "openvino": ("nncf",)}
"""The packages that quantising takes beside those of exporting."""
