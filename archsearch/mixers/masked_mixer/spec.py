"""Masked mixer: one learned lower triangular matrix over positions (Badger 2024)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec, head_problems


class MaskedMixer(MixerSpec):
    """Each output is a fixed weighted sum of the inputs up to it, the same for all channels.

    The weights belong to absolute positions and not to what stands there: without a channel mixer
    nothing can be looked up. They are tied to the longest length L that the model is built for, of
    which shorter sequences use the first rows and columns; longer ones are undefined. The upper
    triangle, about half of the matrix, is masked and still counts as parameters. The bias b of a
    position shifts all channels (of a head) alike, as published. With one head, a LayerNorm over
    the stream takes such a shift out again; its N numbers count as parameters all the same.

    Reading of the published code: with an expansion, every block of the widened matrices is
    triangular by itself; one triangle over the whole would leave all blocks but the first unread.

    Attributes:
        num_heads: Parts of a projection of the input, each with a matrix of its own, that are
            projected back; 1 mixes the input itself, without projections. Must divide the width.
        expansion: e, hidden positions for each position, with GELU between two matrices; 0 is one
            matrix.
    """

    name: ClassVar[str] = "masked_mixer"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "token mixing"
    formula: ClassVar[str] = (
        "y = tril(W) x + b, W of L x L; expanded: sum_e tril(V_e) gelu(tril(W_e) x + b_e) + b"
    )
    citation: ClassVar[Citation] = Citation("Badger 2024", "2409.01482", "masked mixer, causal")

    num_heads: int = Field(1, ge=1, le=8)
    expansion: int = Field(0, ge=0, le=4)

    @property
    def num_matrices(self) -> int:
        """Triangular matrices of a head."""
        return max(1, 2 * self.expansion)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """N(N+1)d for each triangular matrix, 2N^2 d as executed; 4Nd^2 for projections of heads.

        Parameters are those of a model whose longest length is ``length``. State: all inputs, and
        all hidden positions.
        """
        heads, count, e = self.num_heads, self.num_matrices, self.expansion
        around, around_params = 0, 0
        if heads > 1:
            around, around_params = 4 * length * d_model**2, 2 * d_model**2 + 2 * d_model
        executed = around + 2 * count * length**2 * d_model
        return MixerCost(
            flops_useful=around + count * length * (length + 1) * d_model,
            flops_executed=executed,
            flops_matmul=executed,
            params=around_params + heads * (count * length**2 + (e + 1) * length),
            state_floats=(1 + e) * length * d_model,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        triangles = self.num_matrices * d_model
        around = 4 * d_model**2 if self.num_heads > 1 else 0
        return CostForm.of((triangles, 2), (triangles + around, 1))

    def problems(self, d_model: int) -> list[str]:
        return head_problems(d_model, self.num_heads)


SPEC = MaskedMixer
