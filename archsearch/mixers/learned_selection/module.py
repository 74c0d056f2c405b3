"""Attention for positions picked by a gate. Axes: B batch, L length, D width, M served."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._module import State, wide
from archsearch.mixers._noise import Noise
from archsearch.mixers._selection import (
    SelectedAttention,
    chunked_rank,
    place,
    prefix_rank,
    select_in_chunks,
)
from archsearch.mixers.base import MixerContext
from archsearch.mixers.learned_selection.spec import LearnedSelection


def _masked_mean(x_BL: Tensor, mask_BL: Tensor) -> Tensor:
    return (x_BL * mask_BL).sum(1) / mask_BL.sum(1).clamp_min(1)


class LearnedSelectionModule(SelectedAttention):
    """See ``spec.LearnedSelection``."""

    def __init__(self, spec: LearnedSelection, context: MixerContext) -> None:
        super().__init__(spec, context)
        self.spec = spec
        self.gate = nn.Linear(context.d_model, 1)
        self.add_projections(spec)
        self.noise = Noise() if spec.noise else None

    def initialise(self, generator: torch.Generator) -> None:
        # All gates start open: a closed one gets no gradient from the task, so that only open ones
        # can learn from sequences that the cap covers.
        nn.init.ones_(self.gate.bias)
        if self.spec.rule == "threshold":
            nn.init.zeros_(self.gate.weight)
        else:
            # equal scores would rank the first positions first in every sequence
            nn.init.normal_(self.gate.weight, std=self.gate.in_features**-0.5, generator=generator)
        if self.noise is not None:
            self.noise.initialise(generator)

    def forward(self, x_BLD: Tensor) -> Tensor:
        length = x_BLD.shape[1]
        logit_BL = self._logits(x_BLD)
        open_BL = self._picked(logit_BL.detach())
        position_BM, filled_BM = select_in_chunks(open_BL, *self.spec.caps(length))
        weight_BM = logit_BL.gather(1, position_BM).sigmoid() * filled_BM
        self.penalty = self._penalty(logit_BL, open_BL) if self.training else None
        # empty slots add 0 to the position that they point at
        y_BMD = self._weighted(self.attend(x_BLD, position_BM), weight_BM)
        return place(y_BMD, position_BM, length)

    def _logits(self, x: Tensor) -> Tensor:
        """Of the gate, in float32 at least, under autocast too: they are compared."""
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(wide(x), wide(self.gate.weight), wide(self.gate.bias)).squeeze(-1)

    def _weighted(self, y: Tensor, weight: Tensor) -> Tensor:
        """Outputs times their scores, typed as the parameters: scores may be of a wider type."""
        return (y * weight[..., None]).to(self.output.weight.dtype)

    def _picked(self, logit_BL: Tensor) -> Tensor:
        """Whom the rule picks before the cap; the order of logits is that of scores."""
        if self.training and self.noise is not None:
            logit_BL = logit_BL + self.spec.noise * self.noise.normal(logit_BL)
        if self.spec.rule == "threshold":
            return logit_BL > 0
        if self.spec.rule == "prefix_rank":
            return prefix_rank(logit_BL, self.spec.rank)
        _, chunk = self.spec.caps(logit_BL.shape[1])
        return chunked_rank(logit_BL, self.spec.rank, chunk)

    def _penalty(self, logit_BL: Tensor, open_BL: Tensor) -> Tensor | None:
        score_BL, length = logit_BL.sigmoid(), logit_BL.shape[1]
        cap = self.spec.served(length)
        parts = []
        if self.spec.rule == "threshold":
            parts.append(self.spec.penalty * self._misuse(score_BL, open_BL, cap))
        if self.spec.sparsity:
            excess_B = (score_BL.mean(1) - cap / length).relu()
            parts.append(self.spec.sparsity * excess_B.mean())
        return torch.stack(parts).sum() if parts else None

    def _misuse(self, score_BL: Tensor, open_BL: Tensor, cap: int) -> Tensor:
        """Mean over the batch of what holds the slots wrongly, in [-1, 1].

        Where more gates are open than there are slots, those that are served pay their mean score,
        times the share of open gates that go without: early ones for later ones. Pressing on all
        scores alike shut every gate before the task had anything to say, and a shut gate gets no
        gradient from the task; for the same reason gates are drawn open where none is.
        """
        served_BL = open_BL & (open_BL.cumsum(1) <= cap)
        num_open_B = open_BL.sum(1)
        unserved_B = (num_open_B - cap).clamp_min(0) / num_open_B.clamp_min(1)
        press_B = unserved_B * _masked_mean(score_BL, served_BL)
        pull_B = (num_open_B == 0) * _masked_mean(score_BL, ~open_BL)
        return (press_B - pull_B).mean()

    def reference(self, x_BLD: Tensor) -> Tensor:
        batch, length = x_BLD.shape[:2]
        score_BL = self._logits(x_BLD).sigmoid()
        served_BL = torch.zeros_like(score_BL)
        cap, chunk = self.spec.caps(length)
        for b in range(batch):
            scores = score_BL[b].tolist()
            for i, score in enumerate(scores):
                first = i - i % chunk
                ahead = sum(earlier >= score for earlier in scores[first:i])
                picked = score > 0.5 if self.spec.rule == "threshold" else ahead < self.spec.rank
                room = served_BL[b, first:i].sum() < cap
                served_BL[b, i] = float(picked and room)
        return self.attend_everywhere(x_BLD) * (served_BL * score_BL)[..., None]

    def initial_state(self, batch: int, length: int) -> State:
        best = wide(self.zeros(batch, self.spec.ranked(length))).fill_(float("-inf"))
        return {**super().initial_state(batch, length), "best": best}

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        logit_B1 = self._logits(x_BD)[:, None]
        open_B, best, served_B = logit_B1[:, 0] > 0, state["best"], state["served"]
        cap, chunk = self.spec.caps(int(state["length"][0]))
        if int(state["position"][0]) % chunk == 0:
            best, served_B = torch.full_like(best, float("-inf")), torch.zeros_like(served_B)
        if self.spec.rule != "threshold":
            open_B = (best >= logit_B1).sum(1) < self.spec.rank
            best = torch.cat((best, logit_B1), dim=1).topk(best.shape[1]).values
        now_B = open_B & (served_B < cap)
        y_BD, state = self.attend_here(x_BD, state)
        y_BD = self._weighted(y_BD, now_B * logit_B1[:, 0].sigmoid())
        return y_BD, {**state, "best": best, "served": served_B + now_B}


MODULE = LearnedSelectionModule
