"""All costs of a design in one frozen, JSON-able record."""

from __future__ import annotations

from fractions import Fraction

from pydantic import BaseModel, ConfigDict, Field

from archsearch.architecture import Architecture
from archsearch.canonical import merged
from archsearch.costs.flops import executed_flops_at, flops_at
from archsearch.costs.growth import LONGEST, cost_form, crossover_length
from archsearch.costs.params import embedding_params, num_params
from archsearch.costs.state import state_floats
from archsearch.mixers.base import Growth


class Price(BaseModel):
    """What a design costs when no sequence is longer than ``n_max``.

    Attributes:
        n_max: The length of all figures below: the longest tested one.
        flops: Useful FLOPs, forward, per sequence, without embedding and head.
        flops_executed: What our algorithms compute of these and beside them.
        params: Without embedding and head.
        embedding_params: Of the embedding, which is also the head; None where the vocabulary was
            not given.
        state_floats: Kept in order to read the next token.
        growth: The class of ``flops`` in N: numerator and denominator of the power of N, and the
            power of log N.
        growth_text: The same to read, such as ``N^1.5`` or ``N log N``.
        leading_coefficient: Of the fastest growing term.
        form: ``flops`` as a function of N, to read.
        crossover_length: The length from which on the design is cheaper than full attention of its
            width and depth; None where it is not at 2^24. In records of earlier versions the first
            length at which it is, though it may be dearer at some more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_max: int = Field(ge=1)
    flops: int
    flops_executed: int
    params: int
    embedding_params: int | None = None
    state_floats: int
    growth: tuple[int, int, int]
    growth_text: str
    leading_coefficient: float
    form: str
    crossover_length: int | None = None

    @property
    def crossover_text(self) -> str:
        """``crossover_length`` to read, as an answer to "cheaper than full attention"."""
        if self.crossover_length is None:
            return f"not for good up to {LONGEST:,} tokens"
        if self.crossover_length == 1:
            return "at every length"
        return f"from {self.crossover_length:,} tokens on"

    @property
    def growth_class(self) -> Growth:
        """``growth`` as what compares in the order of growth, exactly."""
        numerator, denominator, log_power = self.growth
        return Growth(Fraction(numerator, denominator), log_power)


def price(
    architecture: Architecture,
    n_max: int,
    *,
    vocab_size: int | None = None,
    max_length: int | None = None,
) -> Price:
    """Prices a design at the longest tested length, without building it.

    What cannot differ up to ``n_max`` is priced alike: a window that covers everything is full
    attention, in its growth and its crossover too.

    Args:
        architecture: A design that can be built (see ``canonical.check``).
        n_max: The longest tested length.
        vocab_size: V, for the size of the embedding only.
        max_length: Longest sequence that the model is built for, for the size of a table of
            positions; ``n_max`` unless given.

    Raises:
        InputError: A mixer or an option is not known.
    """
    design = merged(architecture, n_max)
    form = cost_form(design, n_max)
    growth = form.growth
    return Price(
        n_max=n_max,
        flops=flops_at(design, n_max),
        flops_executed=executed_flops_at(design, n_max),
        params=num_params(design, max_length or n_max),
        embedding_params=None if vocab_size is None else embedding_params(design, vocab_size),
        state_floats=state_floats(design, n_max),
        growth=(growth.power.numerator, growth.power.denominator, growth.log_power),
        growth_text=str(growth),
        leading_coefficient=form.terms[0].coefficient if form.terms else 0.0,
        form=str(form),
        crossover_length=crossover_length(design),
    )
