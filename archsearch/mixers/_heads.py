"""What the specs of attention mixers share: heads, and keys and values that groups of them share.

Torch-free.
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field

from archsearch.architecture import Component
from archsearch.mixers.base import MixerSpec, head_problems

_HEADS = ("num_heads", "num_kv_heads")


class HeadedSpec(MixerSpec):
    """Queries in H heads, keys and values in G of them (Ainslie et al. 2023, 2305.13245).

    Attributes:
        num_heads: H; must divide the width.
        num_kv_heads: G, heads of keys and values, each read by H/G heads of queries; must divide H.
            0 stands for H.
    """

    uses_rotary: ClassVar[bool] = True
    later_options: ClassVar[frozenset[str]] = frozenset({"num_kv_heads"})

    num_heads: int = Field(1, ge=1, le=256)
    num_kv_heads: int = Field(0, ge=0, le=256)

    def key_width(self, d_model: int) -> int:
        """Width d G/H of a position's keys in all heads, and of its values."""
        return d_model * (self.num_kv_heads or self.num_heads) // self.num_heads

    def projection_params(self, d_model: int) -> int:
        """2d^2 for queries and output, 2d^2 G/H for keys and values."""
        return 2 * d_model * (d_model + self.key_width(d_model))

    def executed_pairs(self, length: int) -> int:
        """Pairs of a query and a key that the fast form multiplies, in each head."""
        cost, width = self.cost(self.num_heads, length), self.num_heads
        projections = 2 * length * self.projection_params(width)
        return (cost.flops_executed - projections) // (4 * width)

    def problems(self, d_model: int) -> list[str]:
        found = head_problems(d_model, self.num_heads)
        if self.num_kv_heads and self.num_heads % self.num_kv_heads:
            found.append(f"num_kv_heads={self.num_kv_heads} must divide num_heads={self.num_heads}")
        return found

    def canonical(self) -> Component:
        return self.plainly_headed().component()

    def plainly_headed(self) -> Self:
        """The same with G = H said as 0."""
        same = self.num_kv_heads == self.num_heads
        return self.model_copy(update={"num_kv_heads": 0}) if same else self

    def full_attention(self) -> Component:
        """Full attention with these heads."""
        plain = self.plainly_headed().component()
        heads = {key: value for key, value in plain.options.items() if key in _HEADS}
        return Component(name="attention", options=heads)
