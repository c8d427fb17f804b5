"""What an adapter asks of the training loop beside gradients: learning rates of its own, a penalty, ranks given anew.

Knows PEFT's models, and no loop, step or batch plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


class Companion:
    """What goes with the weights in training. This one, for models without an adapter and most with one, does nothing.

    `rates` has multiples of the learning rate by parameter name, where they are not 1.
    """

    def __init__(self, rates: Mapping[str, float] | None = None) -> None:
        self.rates: Mapping[str, float] = rates or {}

    def penalty(self) -> torch.Tensor | None:
        """What is added to the mean loss of a step, with its gradient."""
        return None

    def stepped(self, step: int) -> None:
        """Called after optimiser step number `step` (from 1), while the gradients are still there."""

    def state(self) -> dict[str, torch.Tensor]:
        """What a checkpoint must hold beside the weights, by name."""
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put back what `state` gave."""


class RankCompanion(Companion):
    """AdaLoRA's (Zhang et al. 2023, https://arxiv.org/abs/2303.10512): a budget of ranks shared out by importance.

    PEFT's model adds its penalty where it computes a loss itself, which ours never does, and keeps its moving averages
    in dicts that no checkpoint sees.
    """

    _AVERAGES = ("exp_avg_ipt", "exp_avg_unc")

    def __init__(self, model: Any, rates: Mapping[str, float] | None = None) -> None:
        super().__init__(rates)
        self.tuner = model.base_model
        self.config = self.tuner.peft_config[self.tuner.trainable_adapter_name]

    def penalty(self) -> torch.Tensor | None:
        """How far the singular vectors are from orthogonal: the mean Frobenius norm of P'P − I (their equation 4)."""
        norms = []
        for name, weight in self.tuner.model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                product = weight @ weight.T if "lora_A" in name else weight.T @ weight
                norms.append(torch.linalg.matrix_norm(product - torch.eye(len(product), device=product.device)))
        return float(self.config.orth_reg_weight) * torch.stack(norms).mean()

    def stepped(self, step: int) -> None:
        """Importances from this step's gradients; what no longer fits the budget is set to zero."""
        self.tuner.update_and_allocate(step)

    def state(self) -> dict[str, torch.Tensor]:
        """The moving averages of importance, and the ranks that stay once they are decided."""
        ranks = self.tuner.rankallocator
        found = {f"{kind}/{name}": value for kind in self._AVERAGES for name, value in getattr(ranks, kind).items()}
        pattern = self.config.rank_pattern or {}
        return found | {f"rank_pattern/{name}": torch.tensor(kept) for name, kept in pattern.items()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put back what `state` gave."""
        ranks, pattern = self.tuner.rankallocator, {}
        ranks.reset_ipt()
        for key, value in state.items():
            kind, _, name = key.partition("/")
            if kind == "rank_pattern":
                pattern[name] = value.tolist()
            else:
                getattr(ranks, kind)[name] = value.clone()
        for name, value in ranks.exp_avg_ipt.items():
            ranks.ipt[name] = torch.zeros_like(value)  # computed anew at each step, but its keys say what is known
        self.config.rank_pattern = pattern or None
