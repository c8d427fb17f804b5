"""`objective.compute` over a model as one graph, traced by transformers' exporters, with free batch and length.

The one door to `transformers.exporters`, and to what the back ends' own converters need.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nlpipe.errors import UnsupportedError
from nlpipe.objectives.base import Batch, Objective
from nlpipe.runners import onnx as onnx_files
from nlpipe.runners import openvino as openvino_files

NAMES = ("input_ids", "attention_mask", "token_type_ids")


class Traced(nn.Module):
    """A model with what an objective makes of its outputs: the module whose forward is exported."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        self.config: Any = model.config

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """The objective's outputs, in float32."""
        given = dict(zip(NAMES, (input_ids, attention_mask, token_type_ids), strict=True))
        inputs = {name: values for name, values in given.items() if values is not None}
        outputs = self.objective.compute(self.model, Batch(inputs, {}, 0.0, ()))
        return {name: values.float() for name, values in outputs.items()}


def onnx(model: nn.Module, objective: Objective, batch: Batch, folder: Path) -> None:
    """Write the graph as ONNX Runtime reads it. Raises UnsupportedError where the model cannot be traced."""
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    exporter = OnnxExporter()
    program = _program(exporter, OnnxConfig, model, objective, batch)
    exporter.save_program(program, folder / onnx_files.FILE)


def openvino(model: nn.Module, objective: Objective, batch: Batch, folder: Path) -> None:
    """Write the graph as OpenVINO reads it. Raises UnsupportedError where the model cannot be traced."""
    from transformers.exporters.exporter_openvino import OpenVINOConfig, OpenVINOExporter

    exporter = OpenVINOExporter()
    program = _program(exporter, OpenVINOConfig, model, objective, batch)
    exporter.save_program(program, folder / openvino_files.FILE)


def _program(exporter: Any, config: Any, model: nn.Module, objective: Objective, batch: Batch) -> Any:
    there = batch.to("cpu").inputs
    if unknown := [name for name in there if name not in NAMES]:
        raise UnsupportedError(
            f"{type(objective).__name__} reads {unknown[0]!r}, and a graph is exported that reads {', '.join(NAMES)}"
        )
    free = {name: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for name in there}
    try:
        with quiet():
            program, _ = exporter.export_program(
                Traced(model, objective).eval(), dict(there), config(dynamic=True, dynamic_shapes=free)
            )
    except Exception as error:  # torch.export's and the converters' errors share no class
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        kind = getattr(model.config, "model_type", type(model).__name__)
        raise UnsupportedError(
            f"{kind} cannot be exported as a graph, asked as {type(objective).__name__}: {reason}"
        ) from error
    return program


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' talk to their developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


WRITERS: Mapping[str, Any] = {"onnx": onnx, "openvino": openvino}
"""How the graph of each back end is written."""

NEEDS: Mapping[str, tuple[str, ...]] = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",)}
"""The packages that exporting takes, beside those that answering does."""
