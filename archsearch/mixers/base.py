"""What every mixer states about itself, without torch: options, cost, state, growth, source.

FLOPs are forward, per sequence, with a multiply-add counted as two. Matrix products, convolutions,
FFTs and the multiply-adds of recurrences count; softmax, norms, biases, residuals, rotary turns,
masks, gathers and elementwise gates do not.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from archsearch.architecture import Component

CONVOLUTIONS: Final = frozenset({"convolution", "gated convolution"})
"""Families that a design is named by only where it has no other."""


class Citation(NamedTuple):
    """Where a mixer comes from: authors and year, arXiv id (or none), place in the paper."""

    text: str
    arxiv: str | None = None
    where: str = ""


class Growth(NamedTuple):
    """The class N^power (log N)^log_power; compares in the order of growth."""

    power: Fraction
    log_power: int = 0

    def __str__(self) -> str:
        if self.power == 0 and self.log_power == 0:
            return "1"
        base = "" if self.power == 0 else "N" if self.power == 1 else f"N^{float(self.power):.4g}"
        log = {0: "", 1: "log N"}.get(self.log_power, f"(log N)^{self.log_power}")
        return " ".join(part for part in (base, log) if part)


class CostTerm(NamedTuple):
    """coefficient * N^power * (log2 N)^log_power."""

    coefficient: float
    power: Fraction
    log_power: int = 0


@dataclass(frozen=True)
class CostForm:
    """A cost as a function of the length N: a sum of terms, like powers merged."""

    terms: tuple[CostTerm, ...]

    @classmethod
    def of(
        cls, *terms: tuple[float, Fraction | int] | tuple[float, Fraction | int, int]
    ) -> CostForm:
        """Builds a form from (coefficient, power[, log_power]) tuples."""
        return cls.merged(CostTerm(t[0], Fraction(t[1]), *t[2:]) for t in terms)

    @classmethod
    def merged(cls, terms: Iterable[CostTerm]) -> CostForm:
        """Builds a form, adding coefficients of equal powers; highest power first."""
        total: dict[tuple[Fraction, int], float] = {}
        for term in terms:
            key = (term.power, term.log_power)
            total[key] = total.get(key, 0.0) + term.coefficient
        ordered = sorted(total.items(), reverse=True)
        return cls(tuple(CostTerm(c, *key) for key, c in ordered if c != 0))

    def __add__(self, other: CostForm) -> CostForm:
        return CostForm.merged((*self.terms, *other.terms))

    @property
    def growth(self) -> Growth:
        """The largest (power, log power) with a non-zero coefficient; exact, never a fit."""
        return (
            Growth(self.terms[0].power, self.terms[0].log_power)
            if self.terms
            else Growth(Fraction(0))
        )

    def at(self, length: float) -> float:
        """The value at a length."""
        return sum(
            t.coefficient * length ** float(t.power) * math.log2(length) ** t.log_power
            for t in self.terms
        )

    def __str__(self) -> str:
        return (
            " + ".join(
                f"{t.coefficient:.6g}"
                + ("" if t.power == 0 and t.log_power == 0 else f" {Growth(t.power, t.log_power)}")
                for t in self.terms
            ).replace("+ -", "- ")
            or "0"
        )


@dataclass(frozen=True)
class MixerCost:
    """The exact price of one mixer at one width and length, per sequence.

    Attributes:
        flops_useful: Only the (query, key) pairs that the pattern allows; the default objective.
        flops_executed: What our algorithm computes.
        flops_matmul: The part of ``flops_executed`` in matrix products and direct convolutions:
            what torch's FlopCounterMode sees when SDPA is swapped for explicit products.
        params: Trainable parameters.
        state_floats: Floats kept in order to process the next token.
    """

    flops_useful: int
    flops_executed: int
    flops_matmul: int
    params: int
    state_floats: int


@dataclass(frozen=True)
class MixerContext:
    """Where in a model a mixer stands.

    Attributes:
        d_model: Width of the stream.
        max_length: Longest sequence that the model will see; filters are tied to it, costs are not.
        rotary: Whether attention turns its queries and keys.
        layer_index: 0-based.
        num_layers: Blocks of the model.
    """

    d_model: int
    max_length: int
    rotary: bool = False
    layer_index: int = 0
    num_layers: int = 1


_REACH = re.compile(r"sqrt|cbrt|N/([1-9]\d{0,5})")


def _check_reach(value: int | str) -> int | str:
    if isinstance(value, bool) or (isinstance(value, int) and not 1 <= value <= 2**24):
        raise ValueError(f"must be between 1 and {2**24}")
    if isinstance(value, str) and not _REACH.fullmatch(value):
        raise ValueError("must be a whole number of tokens, 'sqrt', 'cbrt', or 'N/k' such as 'N/8'")
    return value


Reach = Annotated[
    Annotated[int, Field(strict=True)]
    | Annotated[str, Field(pattern=r"^(sqrt|cbrt|N/[1-9]\d{0,5})$")],
    AfterValidator(_check_reach),
]
"""A number of tokens: a constant, or a policy of the length (``sqrt``, ``cbrt``, ``N/8``)."""


def reach_at(reach: int | str, length: int) -> int:
    """Tokens that a reach stands for at a length; rounded up, at least 1."""
    if isinstance(reach, int):
        return reach
    if reach == "sqrt":
        return math.isqrt(length - 1) + 1
    if reach == "cbrt":
        near = round(length ** (1 / 3))
        return near if near**3 >= length else near + 1
    divisor = int(reach.removeprefix("N/"))
    return max(1, -(-length // divisor))


def reach_term(reach: int | str, n_max: int | None, span: int | None = None) -> CostTerm:
    """The reach as a term in N.

    A constant that covers more than a quarter of the longest tested length is not known to work at
    any greater length: it is priced as the fraction of N that it was tested as.

    Args:
        reach: The number of tokens read.
        n_max: The longest tested length; None for the form of the design as built.
        span: How far back the furthest of them lies, when they are not contiguous.
    """
    if isinstance(reach, int):
        if n_max is not None and 4 * (span if span is not None else reach) > n_max:
            return CostTerm(min(1.0, reach / n_max), Fraction(1))
        return CostTerm(float(reach), Fraction(0))
    if reach in ("sqrt", "cbrt"):
        return CostTerm(1.0, Fraction(1, 2 if reach == "sqrt" else 3))
    return CostTerm(1 / int(reach.removeprefix("N/")), Fraction(1))


def causal_pairs(length: int, window: int | None = None) -> int:
    """Pairs (i, j) with j <= i < length, and i - j < window when a window is given."""
    w = length if window is None else min(window, length)
    return w * length - w * (w - 1) // 2


class MixerSpec(BaseModel):
    """One mixer's options (the fields) and what is true of it (the class attributes).

    A spec's field is an option in a search space; its bounds are the field's. Subclasses live in
    ``mixers/<name>/spec.py`` and export themselves as ``SPEC``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: ClassVar[str]
    kind: ClassVar[Literal["sequence", "channel"]]
    family: ClassVar[str]
    formula: ClassVar[str]
    citation: ClassVar[Citation]
    uses_rotary: ClassVar[bool] = False
    skipped: ClassVar[bool] = False
    reads_tokens: ClassVar[bool] = False
    """Whether the module is called with the token ids beside its input."""
    reads_past: ClassVar[bool] = False
    """Whether a channel mixer looks at earlier positions too, as a token shift does."""
    oracle_bias: ClassVar[bool] = False
    """Whether the mixer is told where the answers of the task are: no front member by itself."""
    later_options: ClassVar[frozenset[str]] = frozenset()
    """Options that came after the mixer's first release: plain data leave them out at their
    defaults, so that digests recorded before they existed still hold."""

    @abstractmethod
    def cost(self, d_model: int, length: int) -> MixerCost:
        """The exact price at a width and a length."""

    @abstractmethod
    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        """``flops_useful`` as a function of N; see ``reach_term`` for ``n_max``.

        Agrees with ``cost`` to leading order: roundings of policies and the short lengths at which
        a window covers everything are not in the form.
        """

    def problems(self, d_model: int) -> list[str]:
        """What makes these options unusable at this width; one sentence each."""
        return []

    @classmethod
    def fits(cls, place: str) -> bool:
        """Whether the mixer may stand in that part of a block: sequence, channel or parallel."""
        if place == "parallel":
            return cls.kind == "sequence" or cls.skipped
        return cls.kind == place

    def head_width(self, d_model: int) -> int:
        """Width of a head's queries and keys; rotary positions need it to be even."""
        return d_model // int(getattr(self, "num_heads", 1))

    @property
    def noisy(self) -> bool:
        """Whether training adds noise, so that it computes another function than evaluation."""
        return False

    def component(self) -> Component:
        """This mixer as plain data, every option written out (but see ``later_options``)."""
        options: dict[str, Any] = self.model_dump(mode="python")
        fields = type(self).model_fields
        for key in self.later_options:
            if options[key] == fields[key].default:
                del options[key]
        return Component(name=self.name, options=options)

    def canonical(self) -> Component:
        """The plainest component that computes the same function at every length."""
        return self.component()

    def merged(self, n_max: int) -> Component:
        """The plainest component that computes the same function up to ``n_max`` tokens."""
        return self.canonical()


def head_problems(d_model: int, num_heads: int) -> list[str]:
    """The one condition that all multi-head mixers share."""
    if d_model % num_heads:
        return [f"num_heads={num_heads} must divide d_model={d_model}"]
    return []
