from __future__ import annotations

import torch

from archsearch.mixers.based.module import taylor_features
from archsearch.mixers.based.spec import Based

OPTIONS = [{"num_heads": 2, "feature_dim": 5}]


def test_features_multiply_to_the_taylor_polynomial() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 9, 6, dtype=torch.float64, generator=generator)
    s = q @ k.transpose(-1, -2) / 6**0.5
    product = taylor_features(q) @ taylor_features(k).transpose(-1, -2)
    torch.testing.assert_close(product, 1 + s + s**2 / 2)
    assert taylor_features(q).shape[-1] == Based(feature_dim=6).features == 28
