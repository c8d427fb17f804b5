"""A model that ONNX Runtime computes. No torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpipe.errors import ArtifactError
from nlpipe.runners.graph import GraphRunner, feed, threads_of

if TYPE_CHECKING:
    import numpy as np

    from nlpipe.objectives.base import Batch, Objective

FILE = "model.onnx"


class OnnxRunner(GraphRunner):
    """Runs a graph on the processor; ONNX Runtime's sessions may be called from several threads at once."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self._inputs = frozenset(one.name for one in session.get_inputs())
        self._outputs = [one.name for one in session.get_outputs()]

    @classmethod
    def open(cls, folder: Path, threads: int | None = None) -> OnnxRunner:
        """The graph in an export's folder. Raises ArtifactError where ONNX Runtime cannot read it."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads_of(threads)
        options.log_severity_level = 3
        if os.environ.get("OMP_WAIT_POLICY") == "PASSIVE":  # as PyTorch's threads are told
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(folder / FILE, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors share no class of their own
            reason = str(error).partition("\n")[0]
            raise ArtifactError(f"{folder / FILE} cannot be read by ONNX Runtime: {reason}") from error
        return cls(session)

    def compute(self, objective: Objective, batch: Batch) -> dict[str, np.ndarray]:
        """What `objective.compute` gave when it was traced, as float32 arrays."""
        found = self.session.run(self._outputs, feed(batch, self._inputs))
        return dict(zip(self._outputs, found, strict=True))
