"""DeltaNet."""

from __future__ import annotations

from archsearch.mixers._recurrent_delta import DeltaMixer, Shape
from archsearch.mixers.base import MixerContext
from archsearch.mixers.delta_net.spec import DeltaNet


class DeltaNetModule(DeltaMixer):
    """See ``spec.DeltaNet``."""

    def __init__(self, spec: DeltaNet, context: MixerContext) -> None:
        largest = 2.0 if spec.negative_eigenvalues else 1.0
        shape = Shape(*spec.shape(context.d_model))
        super().__init__(spec, context, shape, largest_beta=largest)


MODULE = DeltaNetModule
