"""Attention for tokens that occurred before. Axes: B batch, L length, D width, M served."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._module import State
from archsearch.mixers._selection import SelectedAttention, place, select
from archsearch.mixers.base import MixerContext
from archsearch.mixers.programmatic_selection.spec import ProgrammaticSelection


def last_occurrence(tokens_BL: Tensor) -> Tensor:
    """The last earlier position with the same token, or -1.

    In a stable sort equal tokens stand side by side, in the order of their positions.
    """
    ordered_BL, order_BL = tokens_BL.sort(dim=1, stable=True)
    same = ordered_BL[:, 1:] == ordered_BL[:, :-1]
    before_BL = F.pad(torch.where(same, order_BL[:, :-1], -1), (1, 0), value=-1)
    return torch.empty_like(order_BL).scatter(1, order_BL, before_BL)


class ProgrammaticSelectionModule(SelectedAttention):
    """See ``spec.ProgrammaticSelection``."""

    def __init__(self, spec: ProgrammaticSelection, context: MixerContext) -> None:
        super().__init__(spec, context)
        self.spec = spec
        self.points = spec.lookup == "pointer"
        if self.points:
            self.output = nn.Linear(context.d_model, context.d_model, bias=False)
        else:
            self.add_projections(spec)

    def forward(self, x_BLD: Tensor, tokens_BL: Tensor) -> Tensor:  # type: ignore[override]
        length = x_BLD.shape[1]
        last_BL = last_occurrence(tokens_BL)
        found_BL = (last_BL >= 0) & (tokens_BL != self.spec.filler)
        position_BM, filled_BM = select(found_BL, self.spec.served(length))
        if self.points:
            # the token behind an earlier one stands at the served position at the latest
            target_BM = last_BL.gather(1, position_BM) + 1
            index_BMD = target_BM[..., None].expand(-1, -1, x_BLD.shape[2])
            y_BMD = self.output(x_BLD.gather(1, index_BMD))
        else:
            y_BMD = self.attend(x_BLD, position_BM)
        return place(y_BMD * filled_BM[..., None], position_BM, length)

    def reference(self, x_BLD: Tensor, tokens_BL: Tensor) -> Tensor:  # type: ignore[override]
        length = x_BLD.shape[1]
        served_BL = torch.zeros_like(x_BLD[..., 0])
        target_BL = torch.zeros_like(tokens_BL)
        for b, tokens in enumerate(tokens_BL.tolist()):
            room = self.spec.served(length)
            for i, token in enumerate(tokens):
                earlier = [j for j in range(i) if tokens[j] == token]
                if earlier and token != self.spec.filler and room:
                    room -= 1
                    served_BL[b, i] = 1
                    target_BL[b, i] = earlier[-1] + 1
        if self.points:
            rows = [x_LD[target_L] for x_LD, target_L in zip(x_BLD, target_BL, strict=True)]
            return self.output(torch.stack(rows)) * served_BL[..., None]
        return self.attend_everywhere(x_BLD) * served_BL[..., None]

    def initial_state(self, batch: int, length: int) -> State:
        if self.points:
            count = torch.zeros(batch, dtype=torch.int64, device=self.output.weight.device)
            total = torch.full_like(count, length)
            empty = self.zeros(batch, 0, self.context.d_model)
            state = {"input": empty, "length": total, "served": count}
        else:
            state = super().initial_state(batch, length)
        return {**state, "tokens": state["served"][:, None][:, :0]}

    def step(self, x_BD: Tensor, state: State, token_B: Tensor) -> tuple[Tensor, State]:
        same_BT = state["tokens"] == token_B[:, None]
        found_B = same_BT.any(1) & (token_B != self.spec.filler)
        served_B = found_B & (state["served"] < self.spec.served(int(state["length"][0])))
        state = {
            **state,
            "tokens": torch.cat((state["tokens"], token_B[:, None]), dim=1),
            "served": state["served"] + served_B,
        }
        if self.points:
            x_BTD = torch.cat((state["input"], x_BD[:, None]), dim=1)
            position_T = torch.arange(1, same_BT.shape[1] + 1, device=x_BD.device)
            target_B = F.pad(same_BT * position_T, (1, 0)).amax(1)
            y_BD = self.output(x_BTD[torch.arange(len(x_BTD), device=x_BD.device), target_B])
            state["input"] = x_BTD
        else:
            y_BD, state = self.attend_here(x_BD, state)
        return y_BD * served_B[:, None], state


MODULE = ProgrammaticSelectionModule
