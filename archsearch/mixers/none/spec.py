"""No channel mixer: the sublayer is skipped, norm and residual included."""

from __future__ import annotations

from typing import ClassVar, Literal

from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec


class NoMixer(MixerSpec):
    """The stream passes unchanged (an ``Identity`` behind a norm would add the norm to it)."""

    name: ClassVar[str] = "none"
    kind: ClassVar[Literal["sequence", "channel"]] = "channel"
    family: ClassVar[str] = "channel"
    formula: ClassVar[str] = "the sublayer does not exist"
    citation: ClassVar[Citation] = Citation("plain residual stream")
    skipped: ClassVar[bool] = True

    def cost(self, d_model: int, length: int) -> MixerCost:
        """Nothing."""
        return MixerCost(0, 0, 0, 0, 0)

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        return CostForm.of()


SPEC = NoMixer
