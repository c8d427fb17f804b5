"""How a model in training lies on its processes: whole in each of them, or in pieces. The one door to Accelerate.

Whoever starts the processes chooses, by Accelerate's own configuration in the environment (`pieces.asked`). Between
steps all others see one whole model, whichever way it is: to evaluate, to write into a checkpoint, to save. Knows no
task, no batch plan and no file.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator, DeepSpeedPlugin, DistributedDataParallelKwargs, FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from nlpipe import optimizer_state, pieces
from nlpipe.adapter import trained
from nlpipe.errors import UnsupportedError
from nlpipe.freezing import stacks
from nlpipe.objectives.base import Batch, Objective
from nlpipe.optimizer_state import Taken
from nlpipe.world import World

Make = Callable[[Mapping[str, nn.Parameter]], torch.optim.Optimizer]


class Learner(nn.Module):
    """Model and objective as one module whose forward is the loss: DDP sees in it which weights took part."""

    def __init__(self, model: nn.Module, objective: Objective, world: World, *, narrow: bool) -> None:
        super().__init__()
        self.model, self.objective, self.world, self.narrow = model, objective, world, narrow

    def forward(self, batch: Batch, whole: Batch | None, counts: Sequence[int]) -> torch.Tensor:
        """The loss of the batch; with `whole`, that of all processes' rows, of which `counts` are each one's.

        It multiplies in bfloat16 where `narrow` says so; said here, as DeepSpeed ends what is said around its forward.
        """
        device = next(self.model.parameters()).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.narrow):
            return self._loss(batch, whole, counts)

    def _loss(self, batch: Batch, whole: Batch | None, counts: Sequence[int]) -> torch.Tensor:
        outputs = self.objective.compute(self.model, batch)
        if whole is None:
            return self.objective.loss(outputs, batch)
        own = counts[self.world.rank]  # none where the process ran a row only so as not to keep others waiting
        all_rows = {name: self.world.rows(tensor[:own], counts) for name, tensor in outputs.items()}
        return self.objective.loss(all_rows, whole) + sum(0.0 * tensor.sum() for tensor in outputs.values())


def over(learner: Learner, device: torch.device, make: Make, clip: float | None) -> Spread:
    """The learner's model spread over the processes there are; `make` makes the optimizer of weights by name.

    `clip` is the largest norm of a step's gradient, None for any.

    Raises UnsupportedError where the model cannot be cut as the configuration asks.
    """
    AcceleratorState._reset_state(True)  # a process-wide singleton: an earlier run's settings would stay
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="no",  # weights stay float32 however they lie; the step itself says what it multiplies in
        # No model of ours changes its buffers, and a pass that tells nobody of them may fail in one process alone.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)],
    )
    kinds: Mapping[str | None, type[Spread]] = {pieces.FSDP: Sharded, pieces.DEEPSPEED: Engine}
    return kinds.get(pieces.asked(os.environ), Spread)(accelerator, learner, make, clip)


class Spread:
    """The model whole in every process, and the gradient averaged by torch's DistributedDataParallel.

    `weights` are those being trained by name, `plain` their optimizer, `names` its parameters in its own order.
    """

    whole_passes = True
    """Whether a pass of one process involves no other, so that each may fail by itself."""

    weights: Mapping[str, nn.Parameter]
    plain: torch.optim.Optimizer
    names: Sequence[str]

    def __init__(self, accelerator: Accelerator, learner: Learner, make: Make, clip: float | None) -> None:
        self.accelerator, self.model, self.clip = accelerator, learner.model, clip
        self.learner: nn.Module = learner
        self.optimizer: Any = None  # Accelerate's, around the plain one
        self._prepare(learner, make)

    def _prepare(self, learner: Learner, make: Make) -> None:
        self.weights = trained(learner.model)
        self.plain = make(self.weights)
        self.names = optimizer_state.parameter_names(self.plain, self.weights.items())
        self.learner, self.optimizer = self.accelerator.prepare(learner, self.plain)

    def passing(self, *, last: bool) -> AbstractContextManager[None]:
        """Around a pass: with the `last` of a step's the mean gradient of all processes is taken, before it of none."""
        apart: AbstractContextManager[None] = self.accelerator.no_sync(self.learner)
        return nullcontext() if last else apart

    def backward(self, loss: torch.Tensor) -> None:
        """Add to the gradient."""
        self.accelerator.backward(loss)

    def average(self) -> None:
        """The mean gradient in every process, after passes of which none was the last; who has none keeps none."""
        weights = [*self.weights.values()]
        used = torch.tensor([int(weight.grad is not None) for weight in weights], device=self.accelerator.device)
        dist.all_reduce(used, op=dist.ReduceOp.MAX)
        for weight, there in zip(weights, used.tolist(), strict=True):
            if there:
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
                dist.all_reduce(weight.grad)
                weight.grad /= self.accelerator.num_processes

    def clipped(self) -> float:
        """Cut the gradient down to the norm `clip`; its norm before that."""
        norm = self.accelerator.clip_grad_norm_(self.weights.values(), self.clip or math.inf)
        return 0.0 if norm is None else float(_whole(norm))

    def gathered(self) -> Mapping[str, torch.Tensor]:
        """The trained weights, each whole, by name. All processes have to ask."""
        return self.weights

    def state(self) -> Taken:
        """The optimizer's state, each tensor whole. All processes have to ask."""
        return optimizer_state.take(self.plain, self.names)

    def cut(self, state: Taken) -> Taken:
        """What `state` gave, as the optimizer here holds it."""
        return state

    def put(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Give the trained weights these values, each whole."""
        with torch.no_grad():
            for name, tensor in tensors.items():
                self.weights[name].copy_(tensor)

    @contextmanager
    def whole(self) -> Iterator[nn.Module]:
        """The model as it stands, in every process. All processes have to ask."""
        yield self.model

    def settle(self) -> None:
        """Leave the model as any other, with the weights as they stand. All processes have to ask."""


class Pieces(Spread):
    """Each process has its piece of the optimizer's state, of the gradient, and mostly of every weight.

    The model that was given stays whole, on the processor, and gets the weights as they stand where it is asked for;
    what learns is a copy. So a device holds pieces while steps are made, and the whole weights, without gradient and
    state of the optimizer, while the model answers.
    """

    whole_passes = False

    def _prepare(self, learner: Learner, make: Make) -> None:
        self.held = trained(self.model.to("cpu"))
        learner.model = copy.deepcopy(self.model)
        self.weights = trained(learner.model)
        self.plain = make(self.weights)
        self.names = optimizer_state.parameter_names(self.plain, self.weights.items())
        name = pieces.asked(os.environ)
        try:
            self._cut_up(learner)
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            raise UnsupportedError(f"{name} cannot cut this model into pieces: {error}") from error
        self.weights = trained(learner.model)

    def _cut_up(self, learner: Learner) -> None:
        """Have Accelerate cut it. The learner, not the model: the embeddings of one it would cut apart for FSDP, which
        fails where several layers share them."""
        self.learner, self.optimizer = self.accelerator.prepare(learner, self.plain)

    def passing(self, *, last: bool) -> AbstractContextManager[None]:
        """Each pass tells the others: who waited would keep the whole gradient."""
        return nullcontext()

    def gathered(self) -> Mapping[str, torch.Tensor]:
        """The trained weights, put into the whole model."""
        with torch.no_grad():
            for name, piece in self.weights.items():
                self.held[name].copy_(self._gathered(name, piece))
        return self.held

    def _gathered(self, name: str, piece: nn.Parameter) -> torch.Tensor:
        return _whole(piece)

    @contextmanager
    def whole(self) -> Iterator[nn.Module]:
        """The whole model with the weights as they stand, on the device for as long as it is asked."""
        self.gathered()
        try:
            yield self.model.to(self.accelerator.device)
        finally:
            self.model.to("cpu")

    def settle(self) -> None:
        """The whole model back on the device."""
        self.gathered()
        self.model.to(self.accelerator.device)


class Sharded(Pieces):
    """FSDP 2."""

    def _cut_up(self, learner: Learner) -> None:
        state = self.accelerator.state
        if self.accelerator.device.type == "cpu":  # Accelerate 1.15 passes its configuration over there
            state.distributed_type, state.fsdp_plugin = DistributedType.FSDP, FullyShardedDataParallelPlugin()
        if state.fsdp_plugin.transformer_cls_names_to_wrap is None:
            state.fsdp_plugin.transformer_cls_names_to_wrap = _layers(self.model)
        super()._cut_up(learner)

    def state(self) -> Taken:
        """The optimizer's state, gathered on the processor."""
        values, tensors = super().state()
        return values, {name: _whole(tensor).cpu() for name, tensor in tensors.items()}

    def cut(self, state: Taken) -> Taken:
        """Of each tensor this process's piece."""
        values, tensors = state
        return values, {name: self._cut(name.rpartition("/")[0], tensor) for name, tensor in tensors.items()}

    def put(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """To the whole model, and to the pieces."""
        with torch.no_grad():
            for name, tensor in tensors.items():
                self.held[name].copy_(tensor)
                self.weights[name].copy_(self._cut(name, tensor))

    def _cut(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """This process's piece of what is as large as a weight; anything else as it is."""
        like: Any = self.weights.get(name)
        if not isinstance(like, DTensor) or tensor.shape != like.shape:
            return tensor
        there = tensor.to(self.accelerator.device)
        return distribute_tensor(there, like.device_mesh, like.placements, src_data_rank=None)


class Engine(Pieces):
    """DeepSpeed: ZeRO 1 (the optimizer's state in pieces), 2 (gradients too) or 3 (weights too)."""

    def _cut_up(self, learner: Learner) -> None:
        state = self.accelerator.state
        if self.accelerator.device.type == "cpu":  # Accelerate 1.15 passes its configuration over there
            state.distributed_type, state.deepspeed_plugins = DistributedType.DEEPSPEED, DeepSpeedPlugin()
            state.deepspeed_plugins.select(_from_accelerator_state=True)
        state.deepspeed_plugin.dschf = None  # while it is there, transformers makes every model in pieces (ZeRO 3)
        config = state.deepspeed_plugin.deepspeed_config
        if config["zero_optimization"].get("stage", 0) not in (1, 2, 3):
            raise UnsupportedError("DeepSpeed's zero_stage has to be 1, 2 or 3; without it say MULTI_GPU")
        # Sizes are the batch plan's: of these DeepSpeed only wants that they fit each other.
        config |= {"train_micro_batch_size_per_gpu": 1, "train_batch_size": self.accelerator.num_processes}
        config |= {"gradient_accumulation_steps": 1, "gradient_clipping": self.clip or 0.0}
        config |= {"fp16": {"enabled": False}, "bf16": {"enabled": False}}
        super()._cut_up(learner)

    def passing(self, *, last: bool) -> AbstractContextManager[None]:
        """The `last` pass of a step is the one before the optimizer's."""
        self._engine.set_gradient_accumulation_boundary(is_boundary=last)
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        """Add to the gradient; not Accelerate's, which has the optimizer step at once."""
        self._engine.backward(loss)

    def clipped(self) -> float:
        """Clip, and step, which DeepSpeed does as one; the gradient's norm."""
        self._engine.step()
        return float(self._engine.get_global_grad_norm() or 0.0)

    def _gathered(self, name: str, piece: nn.Parameter) -> torch.Tensor:
        from deepspeed.utils import safe_get_full_fp32_param  # type: ignore[import-not-found,unused-ignore]

        found: torch.Tensor | None = safe_get_full_fp32_param(piece)
        return piece if found is None else found

    def state(self) -> Taken:
        """Nothing: what DeepSpeed's optimizer keeps has no names; such a run is not resumed (`pieces.require`)."""
        return {"left_out": pieces.DEEPSPEED}, {}

    def put(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """To DeepSpeed's full weights."""
        from deepspeed.utils import safe_set_full_fp32_param  # type: ignore[import-not-found,unused-ignore]

        for name, tensor in tensors.items():
            safe_set_full_fp32_param(self.weights[name], tensor.to(self.accelerator.device))

    @property
    def _engine(self) -> Any:
        return self.learner


def _layers(model: nn.Module) -> list[str]:
    """The classes of a model's layers, each of which is gathered by itself.

    What transformers notes for it may hold the embeddings (BERT's do), which Accelerate 1.15 then cuts twice.
    """
    lists = (model.get_submodule(name) for name in stacks(model))
    return sorted({type(layer).__name__ for layers in lists for layer in layers.children()})


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
