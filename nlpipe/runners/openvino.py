"""A model that OpenVINO computes. No torch."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpipe.errors import ArtifactError
from nlpipe.runners.graph import GraphRunner, feed, threads_of

if TYPE_CHECKING:
    import numpy as np

    from nlpipe.objectives.base import Batch, Objective

FILE = "openvino_model.xml"


class OpenVinoRunner(GraphRunner):
    """Runs a graph on the processor, with a request for each thread that calls."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self._inputs = frozenset(one.get_any_name() for one in compiled.inputs)
        self._outputs = [one.get_any_name() for one in compiled.outputs]
        self._own = threading.local()

    @classmethod
    def open(cls, folder: Path, threads: int | None = None) -> OpenVinoRunner:
        """The graph in an export's folder. Raises ArtifactError where OpenVINO cannot read it."""
        import openvino

        # Half precision is what OpenVINO would choose by itself on some processors.
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if count := threads_of(threads):
            settings["INFERENCE_NUM_THREADS"] = count
        try:
            core = openvino.Core()
            compiled = core.compile_model(core.read_model(folder / FILE), "CPU", settings)
        except Exception as error:  # its errors share no class of their own
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise ArtifactError(
                f"{folder / FILE} cannot be read by OpenVINO: {lines[-1] if lines else error}"
            ) from error
        return cls(compiled)

    def compute(self, objective: Objective, batch: Batch) -> dict[str, np.ndarray]:
        """What `objective.compute` gave when it was traced, as float32 arrays."""
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self.compiled.create_infer_request()
        request.infer(feed(batch, self._inputs))
        return {name: request.get_tensor(name).data.copy() for name in self._outputs}
