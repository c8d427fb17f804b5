"""What the training loop relies on of a loss: a sum over terms that reaches every weight."""

from __future__ import annotations

from nlpipe.testing.cases import require
from nlpipe.testing.subjects import Fresh


def adds_up(fresh: Fresh) -> None:
    """Raise CheckFailed unless a padded batch's loss is a number and the sum of its examples' losses.

    Nothing is said of the sum where examples are compared with each other or joined on purpose, or chance decides
    what is learnt.
    """
    import torch

    fresh.model.eval()
    with torch.inference_mode():
        value, terms = fresh.loss(fresh.rows)
        require(bool(torch.isfinite(value)), f"the loss of a fresh model is {float(value)}")
        require(terms > 0, f"the batch has {terms:g} terms, so that its loss would be divided by nothing")
        if fresh.objective.couples_examples or fresh.draws:
            return
        apart = [fresh.loss(rows) for rows in fresh.examples]
    total, count = sum(float(loss) for loss, _ in apart), sum(number for _, number in apart)
    require(abs(terms - count) <= 1e-4 * count, f"a batch has {terms:g} terms, its examples one by one {count:g}")
    require(
        abs(float(value) - total) <= 1e-4 * max(1.0, abs(total)),
        f"the loss of a batch is {float(value):.6g}, the sum of its examples' losses one by one {total:.6g}",
    )


def reaches_every_weight(fresh: Fresh) -> None:
    """Raise CheckFailed for weights that are trained and get no gradient, or one that is no number."""
    import torch

    fresh.model.train()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        loss, _ = fresh.loss(fresh.rows)
        require(bool(torch.isfinite(loss)), f"the loss of a fresh model is {loss.item()}")
        loss.backward()
    weights = {name: weight.grad for name, weight in fresh.model.named_parameters() if weight.requires_grad}
    # Of biases a gradient may be exactly 0: a softmax does not see what is added to all of its scores.
    nowhere = {n for n, gradient in weights.items() if gradient is None or (gradient.ndim > 1 and not gradient.any())}
    names = ", ".join(sorted(nowhere)[:8])
    require(not nowhere, f"{len(nowhere)} of {len(weights)} trained weights get no gradient: {names}")
    odd = [name for name, gradient in weights.items() if gradient is not None and not bool(gradient.isfinite().all())]
    require(not odd, f"the gradient of {', '.join(odd[:8])} is no number")
