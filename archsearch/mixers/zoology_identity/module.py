"""The identity."""

from __future__ import annotations

from torch import Tensor

from archsearch.mixers._module import ChannelMixer


class ZoologyIdentityModule(ChannelMixer):
    """See ``spec.ZoologyIdentity``."""

    def forward(self, x_BLD: Tensor) -> Tensor:
        return x_BLD


MODULE = ZoologyIdentityModule
