"""RWKV channel mixing: squared ReLU behind a token shift, gated (Peng et al. 2023)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec


class RWKVChannelMix(MixerSpec):
    """Each position, mixed with the one before it, is widened, squared, narrowed and gated.

    The shift makes this a channel mixer that looks one token back. It starts as published, mixing
    more of the previous token the deeper the block stands; the published zeros of the key and gate
    maps are not taken over.

    Attributes:
        expansion: Hidden width as a multiple of d; the whole part of the product is taken.
    """

    name: ClassVar[str] = "rwkv_channel_mix"
    kind: ClassVar[Literal["sequence", "channel"]] = "channel"
    family: ClassVar[str] = "channel"
    formula: ClassVar[str] = (
        "y_i = sigmoid(W_r r_i) * W_v relu(W_k k_i)^2,"
        " k_i = m_k x_i + (1 - m_k) x_{i-1}, r_i with m_r"
    )
    citation: ClassVar[Citation] = Citation(
        "Peng et al. 2023 (RWKV)", "2305.13048", "channel-mixing block"
    )
    reads_past: ClassVar[bool] = True

    expansion: float = Field(4.0, ge=1, le=8)

    def hidden(self, d_model: int) -> int:
        """m, the hidden width."""
        return int(self.expansion * d_model)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """4Ndm + 2Nd^2; the shift is elementwise."""
        hidden = self.hidden(d_model)
        flops = length * (4 * d_model * hidden + 2 * d_model**2)
        return MixerCost(
            flops_useful=flops,
            flops_executed=flops,
            flops_matmul=flops,
            params=2 * d_model * hidden + d_model**2 + 2 * d_model,
            state_floats=d_model,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        return CostForm.of((4 * d_model * self.hidden(d_model) + 2 * d_model**2, 1))


SPEC = RWKVChannelMix
