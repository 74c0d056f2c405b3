"""Each guard of the contract fails once: mixers that are wrong on purpose are caught."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from archsearch.mixers._module import SequenceMixer
from archsearch.mixers.attention.spec import Attention
from archsearch.mixers.base import MixerContext
from tests.mixers import contract
from tests.mixers.test_contract import MOST_PER_INPUT, WIDE


class _Toy(SequenceMixer):
    def __init__(self, fast: Callable[[Tensor], Tensor], plain: Callable[[Tensor], Tensor]) -> None:
        super().__init__(Attention(), MixerContext(contract.WIDTH, 64))
        self.fast, self.plain = fast, plain
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x_BLD: Tensor) -> Tensor:
        return self.scale * self.fast(x_BLD)

    def reference(self, x_BLD: Tensor) -> Tensor:
        return self.scale * self.plain(x_BLD)


def _prefix_sum(x_BLD: Tensor) -> Tensor:
    return x_BLD.cumsum(1)


def _dense_prefix_sum(x_BLD: Tensor) -> Tensor:
    length = x_BLD.shape[1]
    return torch.ones(length, length, dtype=x_BLD.dtype).tril() @ x_BLD


def _one_token_ahead(x_BLD: Tensor) -> Tensor:
    return x_BLD + 1e-6 * torch.cat((x_BLD[:, 1:], x_BLD[:, :1]), dim=1)


def test_a_right_mixer_passes() -> None:
    toy = _Toy(_prefix_sum, _dense_prefix_sum)
    assert contract.reference_error(toy, contract.noise(2, 33)) < 1e-9
    assert contract.leak(toy, 33) < 1e-9
    assert contract.largest_tensor(toy, 512) < 512**2
    assert contract.counted_flops(toy.double(), 33) == 0


def test_a_function_of_the_length_is_caught() -> None:
    toy = _Toy(lambda x: x.cumsum(1) / x.shape[1], _prefix_sum)
    assert contract.leak(toy, 33) < 1e-9  # for at one length it is causal
    assert contract.prefix_error(toy, 17, 33) > 1e-9
    assert contract.prefix_error(_Toy(_prefix_sum, _prefix_sum), 17, 33) < 1e-9


def test_policies_of_the_length_are_told_by_their_options() -> None:
    assert contract.follows_length("sliding_window", {"window": "sqrt"})
    assert contract.follows_length("programmatic_selection", {"cap": "N/2"})
    assert contract.follows_length("strided_attention", {})  # by default
    assert not contract.follows_length("sliding_window", {"window": 5})
    assert not contract.follows_length("base_conv", {"kernel_size": "long"})


def _mean_place_of_the_best(x_BLD: Tensor, ordered: bool) -> Tensor:
    """Of the two earlier positions with the largest first coordinate; equal ones in order?"""
    length = x_BLD.shape[1]
    past = torch.ones(length, length, dtype=torch.bool).tril()
    score = x_BLD[:, None, :, 0].expand(-1, length, -1).masked_fill(~past, float("-inf"))
    if ordered:
        best = score.argsort(dim=-1, descending=True, stable=True)[..., :2]
    else:
        best = score.topk(2, dim=-1).indices
    place_BL = best.where(best <= torch.arange(length)[:, None], 0).to(x_BLD.dtype).mean(-1)
    return place_BL[..., None].expand_as(x_BLD)


def test_a_choice_among_equals_that_depends_on_the_length_is_caught() -> None:
    for ordered in (True, False):
        toy = _Toy(lambda x, ordered=ordered: _mean_place_of_the_best(x, ordered), _prefix_sum)
        assert contract.prefix_error(toy, 50, 80) < 1e-9  # for no two are equal
        error = contract.prefix_error(toy, 50, 80, contract.repetitive)
        assert (error < 1e-9) is ordered


def test_a_leak_is_caught() -> None:
    assert contract.leak(_Toy(_one_token_ahead, _prefix_sum), 33) > 1e-9


def test_a_leak_through_a_whole_sequence_norm_is_caught() -> None:
    assert contract.leak(_Toy(lambda x: x.softmax(1), _prefix_sum), 33) > 1e-9


def test_a_wrong_output_is_caught() -> None:
    toy = _Toy(lambda x: _prefix_sum(x) + 1e-6, _dense_prefix_sum)
    assert contract.reference_error(toy, contract.noise(1, 7)) > 1e-9


def test_a_wrong_gradient_is_caught() -> None:
    toy = _Toy(lambda x: _prefix_sum(x.detach()) + 0 * x, _dense_prefix_sum)
    assert contract.reference_error(toy, contract.noise(1, 7)) > 1e-9


def test_nan_is_caught() -> None:
    toy = _Toy(lambda x: x * float("nan"), _prefix_sum)
    assert contract.reference_error(toy, contract.noise(1, 7)) > 1e-9
    assert contract.leak(toy, 7) > 1e-9


def test_a_dense_matrix_is_caught() -> None:
    assert contract.largest_tensor(_Toy(_dense_prefix_sum, _prefix_sum), 512) >= 512**2


def test_an_outer_product_at_each_position_is_caught() -> None:
    def outer(x_BLD: Tensor) -> Tensor:
        return (x_BLD[..., :, None] * x_BLD[..., None, :]).cumsum(1).sum(-1)

    allowed = MOST_PER_INPUT * 512 * WIDE
    assert contract.largest_tensor(_Toy(outer, _prefix_sum), 512, WIDE) > allowed
    assert contract.largest_tensor(_Toy(_prefix_sum, _prefix_sum), 512, WIDE) <= allowed


class _ToyAt(_Toy):
    """One whose ``at`` is ``plain``, which is given the positions too."""

    def at(self, x_BLD: Tensor, position_BM: Tensor, *tokens: Tensor) -> Tensor:
        return self.scale * self.plain(x_BLD, position_BM)


def _few_rows_of_a_dense_matrix(x_BLD: Tensor, position_BM: Tensor) -> Tensor:
    past_BML = torch.arange(x_BLD.shape[1]) <= position_BM[..., None]
    return past_BML.to(x_BLD.dtype) @ x_BLD


def test_few_positions_of_a_dense_matrix_are_caught() -> None:
    toy = _ToyAt(_prefix_sum, _few_rows_of_a_dense_matrix)
    position = torch.tensor([[5, 30]])
    assert contract.error_at(toy, contract.noise(1, 33), position) < 1e-9
    length, allowed = 16 * WIDE * MOST_PER_INPUT, 16 * WIDE**2 * MOST_PER_INPUT**2
    assert contract.largest_tensor(toy, length, WIDE) <= allowed
    assert contract.largest_tensor(toy, length, WIDE, num_positions=length // 8) > allowed


def test_other_outputs_at_few_positions_are_caught() -> None:
    position = torch.tensor([[5, 30]])
    for wrong in (
        lambda x, p: _few_rows_of_a_dense_matrix(x, p) + 1e-6,
        lambda x, p: _few_rows_of_a_dense_matrix(x, p.sort(descending=True).values),
        lambda x, p: _few_rows_of_a_dense_matrix(x.detach(), p) + 0 * x[:, :2],
    ):
        assert contract.error_at(_ToyAt(_prefix_sum, wrong), contract.noise(1, 33), position) > 1e-9


def test_nonsense_in_half_precision_is_caught() -> None:
    def half(x_BLD: Tensor, scale: float) -> Tensor:
        return x_BLD * scale if torch.is_autocast_enabled("cpu") else x_BLD

    position = torch.tensor([[5, 30], [0, 1]])
    for scale, caught in ((1.01, False), (-1.0, True), (float("nan"), True)):
        toy = _Toy(lambda x, scale=scale: half(x, scale), _prefix_sum)
        assert (contract.half_precision_error(toy, 33, position) > 0.05) is caught


def test_dense_fused_attention_is_caught() -> None:
    def fused(x_BLD: Tensor) -> Tensor:
        x = x_BLD[:, None]
        return nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)[:, 0]

    toy = _Toy(fused, _prefix_sum)
    assert contract.largest_tensor(toy, 512) >= 512**2
    assert contract.counted_flops(toy.double(), 33) == 4 * 33**2 * contract.WIDTH


def test_options_at_the_bounds_are_found() -> None:
    found = contract.option_sets("sliding_window")
    assert found[0] == {}
    for expected in ({"num_heads": contract.WIDTH}, {"window": "sqrt"}, {"window": "N/3"}):
        assert expected in found
    assert {"kernel_size": "long"} in contract.option_sets("base_conv")
    assert {"kernel_size": 128} in contract.option_sets("base_conv")
    assert {"dilation": 1024} in contract.option_sets("dilated_window")
