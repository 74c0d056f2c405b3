"""A channel mixer that returns its input, which is not the same as having none."""

from __future__ import annotations

from typing import ClassVar, Literal

from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec


class ZoologyIdentity(MixerSpec):
    """The identity behind the block's norm: the block adds its normalised stream to the stream.

    With ``none`` the sublayer is skipped and the stream stays what it is. Here it becomes
    x + norm(x), which has the parameters of a norm; since embeddings start small and a norm gives
    entries of order one, the added part is most of the stream. Published recall experiments that
    set the channel mixer to an identity ran this.
    """

    name: ClassVar[str] = "zoology_identity"
    kind: ClassVar[Literal["sequence", "channel"]] = "channel"
    family: ClassVar[str] = "channel"
    formula: ClassVar[str] = "y = x, x being the normalised stream"
    citation: ClassVar[Citation] = Citation(
        "Arora et al. 2023 (Zoology)", "2312.04927", "published code, block with state mixer"
    )

    def cost(self, d_model: int, length: int) -> MixerCost:
        """Nothing; the norm is the block's."""
        return MixerCost(0, 0, 0, 0, 0)

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        return CostForm.of()


SPEC = ZoologyIdentity
