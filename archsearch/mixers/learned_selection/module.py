"""Attention for selected positions. Axes: B batch, L length, D width, H heads, E head, M served."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._attention import masked_attention, rotary_angles, rotate
from archsearch.mixers._module import SequenceMixer
from archsearch.mixers.base import MixerContext, reach_at
from archsearch.mixers.learned_selection.spec import LearnedSelection


def select(open_BL: Tensor, cap: int) -> tuple[Tensor, Tensor]:
    """The first ``cap`` open positions of each sequence in order, and which slots they fill.

    Slots that nothing fills point at position 0.
    """
    batch, length = open_BL.shape
    rank_BL = open_BL.cumsum(1) - 1
    # one slot more than there is, for everything that is not served
    slot_BL = torch.where(open_BL & (rank_BL < cap), rank_BL, cap)
    position_BL = torch.arange(length, device=open_BL.device).expand(batch, length)
    slots = position_BL.new_zeros(batch, cap + 1).scatter(1, slot_BL, position_BL)
    filled = torch.arange(cap, device=open_BL.device) < open_BL.sum(1, keepdim=True)
    return slots[:, :cap], filled


def _masked_mean(x_BL: Tensor, mask_BL: Tensor) -> Tensor:
    return (x_BL * mask_BL).sum(1) / mask_BL.sum(1).clamp_min(1)


class LearnedSelectionModule(SequenceMixer):
    """See ``spec.LearnedSelection``."""

    def __init__(self, spec: LearnedSelection, context: MixerContext) -> None:
        super().__init__(spec, context)
        self.num_heads = spec.num_heads
        self.cap = spec.cap
        self.penalty_weight = spec.penalty
        width = context.d_model
        self.gate = nn.Linear(width, 1)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def initialise(self, generator: torch.Generator) -> None:
        # All gates start open: a closed one gets no gradient from the task, so that only open ones
        # can learn from sequences that the cap covers.
        nn.init.zeros_(self.gate.weight)
        nn.init.ones_(self.gate.bias)

    def forward(self, x_BLD: Tensor) -> Tensor:
        length = x_BLD.shape[1]
        cap = min(reach_at(self.cap, length), length)
        logit_BL = self.gate(x_BLD).squeeze(-1)
        position_BM, filled_BM = select(logit_BL > 0, cap)
        index_BMD = position_BM[..., None].expand(-1, -1, x_BLD.shape[2])

        q = self._split(self.query(x_BLD.gather(1, index_BMD)))
        k, v = (self._split(x) for x in self.key_value(x_BLD).chunk(2, dim=-1))
        if self.context.rotary:
            cos_LE, sin_LE = rotary_angles(length, q.shape[-1], q)
            q = rotate(q, cos_LE[position_BM][:, None], sin_LE[position_BM][:, None])
            k = rotate(k, cos_LE, sin_LE)
        past_BML = torch.arange(length, device=x_BLD.device) <= position_BM[..., None]
        core = F.scaled_dot_product_attention(q, k, v, attn_mask=past_BML[:, None])
        y_BMD = self.output(core.transpose(1, 2).flatten(2))

        weight_BM = logit_BL.gather(1, position_BM).sigmoid() * filled_BM
        self.penalty = self._misuse(logit_BL, cap) if self.training else None
        # empty slots add 0 to position 0
        served = y_BMD * weight_BM[..., None]
        return torch.zeros_like(served[:, :1]).expand_as(x_BLD).scatter_add(1, index_BMD, served)

    def _misuse(self, logit_BL: Tensor, cap: int) -> Tensor:
        """Weight * mean over the batch of what holds the slots wrongly, in [-weight, weight].

        Where more gates are open than there are slots, those that are served pay their mean score,
        times the share of open gates that go without: early ones for later ones. Pressing on all
        scores alike shut every gate before the task had anything to say, and a shut gate gets no
        gradient from the task; for the same reason gates are drawn open where none is.
        """
        open_BL = logit_BL > 0
        served_BL = open_BL & (open_BL.cumsum(1) <= cap)
        score_BL = logit_BL.sigmoid()
        num_open_B = open_BL.sum(1)
        unserved_B = (num_open_B - cap).clamp_min(0) / num_open_B.clamp_min(1)
        press_B = unserved_B * _masked_mean(score_BL, served_BL)
        pull_B = (num_open_B == 0) * _masked_mean(score_BL, ~open_BL)
        return self.penalty_weight * (press_B - pull_B).mean()

    def _split(self, x_BLD: Tensor) -> Tensor:
        return x_BLD.reshape(*x_BLD.shape[:2], self.num_heads, -1).transpose(1, 2)

    def reference(self, x_BLD: Tensor) -> Tensor:
        batch, length, width = x_BLD.shape
        score_BL = self.gate(x_BLD).squeeze(-1).sigmoid()
        served_BL = torch.zeros_like(score_BL)
        for b in range(batch):
            for i in range(length):
                room = served_BL[b].sum() < reach_at(self.cap, length)
                served_BL[b, i] = float(score_BL[b, i] > 0.5 and room)
        q = self._split(self.query(x_BLD))
        k, v = (self._split(x) for x in self.key_value(x_BLD).split(width, dim=-1))
        if self.context.rotary:
            turn = rotary_angles(length, q.shape[-1], q)
            q, k = rotate(q, *turn), rotate(k, *turn)
        past_LL = torch.ones(length, length, dtype=torch.bool, device=x_BLD.device).tril()
        y_BLD = self.output(masked_attention(q, k, v, past_LL).transpose(1, 2).flatten(2))
        return y_BLD * (served_BL * score_BL)[..., None]


MODULE = LearnedSelectionModule
