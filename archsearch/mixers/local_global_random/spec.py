"""Local, global and random blocks (Zaheer et al. 2020, Beltagy et al. 2020), one-sided."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.architecture import Component
from archsearch.mixers._heads import HeadedSpec
from archsearch.mixers.base import Citation, CostForm, MixerCost, reach_term


class LocalGlobalRandom(HeadedSpec):
    """Blocks of queries read a fixed number of blocks of keys, with one softmax over all of them.

    Block n reads the first g blocks, itself and the u-1 blocks before it, and R random ones of the
    other earlier blocks: fewer where there are not so many, and none twice. In a causal model a
    global token is one that all later ones read; there are no global queries. The random blocks are
    drawn once for each layer and head, and are the same in training and evaluation.

    Attributes:
        block_size: b, positions of a block.
        num_global: g, first blocks that everyone reads.
        num_local: u, blocks of the window, the query's own included.
        num_random: R, random blocks. Any position may be among them, so that with R > 0 decoding
            keeps all keys and values.
        seed: Of the random blocks.
    """

    name: ClassVar[str] = "local_global_random"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "sparse attention"
    formula: ClassVar[str] = (
        "y_i = W_o sum_j softmax_j(q_i . k_j / sqrt(d/H)) v_j, j <= i in the first g, last u and"
        " R random blocks"
    )
    citation: ClassVar[Citation] = Citation(
        "Zaheer et al. 2020 (BigBird)", "2007.14062", "section 2"
    )

    block_size: int = Field(16, ge=4, le=256)
    num_global: int = Field(1, ge=0, le=16)
    num_local: int = Field(2, ge=1, le=16)
    num_random: int = Field(1, ge=0, le=16)
    seed: int = Field(0, ge=0, le=2**31 - 1)

    @property
    def slots(self) -> int:
        """Blocks of keys that a block of queries reads."""
        return self.num_global + self.num_local + self.num_random

    def cost(self, d_model: int, length: int) -> MixerCost:
        """4Nd^2(1 + G/H) for the projections; 4d per pair.

        Block n has min(n+1, g+u+R) blocks of keys, of which the last is triangular; g+u+R are
        executed, or the dense matrix if there are no more blocks than that.
        """
        size, slots = self.block_size, self.slots
        whole, rest = divmod(length, size)
        full = min(whole, slots)
        read = full * (full + 1) // 2 + (whole - full) * slots  # blocks read by whole blocks
        pairs = size**2 * read - whole * size * (size - 1) // 2
        last = min(whole + 1, slots) - 1
        pairs += rest * last * size + rest * (rest + 1) // 2
        count = -(-length // size)
        executed = length**2 if count <= slots else count * slots * size**2
        kept = length if self.num_random else min(length, slots * size)
        projections = 2 * length * self.projection_params(d_model)
        return MixerCost(
            flops_useful=projections + 4 * pairs * d_model,
            flops_executed=projections + 4 * executed * d_model,
            flops_matmul=projections + 4 * executed * d_model,
            params=self.projection_params(d_model),
            state_floats=2 * kept * self.key_width(d_model),
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        size = self.block_size
        share, power, _ = reach_term(self.slots * size, n_max)
        pairs = (
            (4 * d_model * share, 1 + power),
            (-2 * d_model * share**2, 2 * power),
            (2 * d_model * share * size, power),
            (-2 * d_model * (size - 1), 1),
        )
        return CostForm.of((2 * self.projection_params(d_model), 1), *pairs)

    def canonical(self) -> Component:
        spec = self.plainly_headed()
        return spec.model_copy(update={} if spec.num_random else {"seed": 0}).component()

    def merged(self, n_max: int) -> Component:
        covers = self.slots * self.block_size >= n_max
        return self.full_attention() if covers else self.canonical()


SPEC = LocalGlobalRandom
