"""The trainer that archsearch is compared with: straightforward, by the published protocol.

Full batches of the published sizes, logits of all positions or of the labelled ones, written out;
the loss over them; float32; an optimizer step parameter by parameter. The network, its initial
weights and the data are those of archsearch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from archsearch.mixers._module import taken
from archsearch.model import HybridModel
from archsearch.protocol import TrainingConfig
from archsearch.tasks.base import Batch
from archsearch.training import parameter_groups, rate_at

_BATCH_TOKENS = 65_536
_LARGEST_BATCH = 512

_NO_LABEL = -100


def published_batch(length: int) -> int:
    """Sequences of a batch: 512, 512, 256 and 128 at 64, 128, 256 and 512 tokens, and so on.

    The first four are those of Zoology's configuration for its Figure 2.
    """
    return max(1, min(_LARGEST_BATCH, _BATCH_TOKENS // length))


def optimizer_of(model: HybridModel, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW with neither fused nor grouped kernels."""
    groups = parameter_groups(model, config)
    return torch.optim.AdamW(groups, lr=config.learning_rate, foreach=False, fused=False)


def step(
    model: HybridModel,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: TrainingConfig,
    number: int,
    *,
    labelled_only: bool,
) -> float:
    """One training step; returns the loss."""
    tokens, positions, answers = (
        torch.from_numpy(part) for part in (batch.tokens, batch.query_positions, batch.answers)
    )
    model.train()
    optimizer.zero_grad()
    if labelled_only:
        # every layer computes every position, as a straightforward trainer would have it
        logits = taken(model.hidden(tokens), positions).flatten(0, 1) @ model.embedding.weight.T
        loss = F.cross_entropy(logits, answers.flatten())
    else:
        labels = torch.full_like(tokens, _NO_LABEL).scatter_(1, positions, answers)
        loss = F.cross_entropy(model(tokens).flatten(0, 1), labels.flatten())
    penalty = model.penalty()
    (loss if penalty is None else loss + penalty).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm, foreach=False)
    for group in optimizer.param_groups:
        group["lr"] = rate_at(number, config)
    optimizer.step()
    return float(loss.detach())
