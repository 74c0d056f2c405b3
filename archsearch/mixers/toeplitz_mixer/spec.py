"""Toeplitz mixer: a masked mixer whose weights depend on the distance only."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers._convolution_cost import fft_flops, fft_length, fft_terms
from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec, head_problems


class ToeplitzMixer(MixerSpec):
    """One filter over the whole sequence for all channels, and a bias for each position.

    The sub-quadratic relative of ``masked_mixer``, and that very mixer where its matrix has equal
    diagonals: reading, not in the paper. Taps and biases are tied to the longest length L that the
    model is built for; the transform of the taps (5N log2(2N) per head and batch) is not in the
    price of a sequence. The bias of a position shifts all channels (of a head) alike, as published
    for the masked mixer. With one head, a LayerNorm over the stream takes such a shift out again;
    its N numbers count as parameters all the same.

    Attributes:
        num_heads: Parts of a projection of the input, each with a filter of its own, that are
            projected back; 1 filters the input itself, without projections. Must divide the width.
    """

    name: ClassVar[str] = "toeplitz_mixer"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "token mixing"
    formula: ClassVar[str] = "y_i = b_i + sum_{j<=i} t_{i-j} x_j, t and b shared by the channels"
    citation: ClassVar[Citation] = Citation(
        "Badger 2024", "2409.01482", "masked mixer, restricted to equal diagonals"
    )

    num_heads: int = Field(1, ge=1, le=16)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """Two real FFTs and their product; 4Nd^2 for the projections of heads.

        FFTs are of length 2N in the useful count, of the next power of two in the executed one.
        Parameters are those of a model whose longest length is ``length``.
        """
        around, around_params = 0, 0
        if self.num_heads > 1:
            around, around_params = 4 * length * d_model**2, 2 * d_model**2 + 2 * d_model
        return MixerCost(
            flops_useful=around + fft_flops(2 * length, d_model),
            flops_executed=around + fft_flops(fft_length(length), d_model),
            flops_matmul=around,
            params=around_params + 2 * self.num_heads * length,
            state_floats=length * d_model,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        around = 4 * d_model**2 if self.num_heads > 1 else 0
        return CostForm.of((around, 1), *fft_terms(d_model))

    def problems(self, d_model: int) -> list[str]:
        return head_problems(d_model, self.num_heads)


SPEC = ToeplitzMixer
