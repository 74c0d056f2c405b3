"""Constraints on a design's exact prices, such as ``growth < 2`` or ``params <= 2e6``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from archsearch.errors import InputError, suggestion
from archsearch.mixers.base import Growth

METRICS: Final = ("growth", "params", "flops", "flops_executed", "state", "depth", "d_model")

LEAST_VIOLATION: Final = 1e-9
"""Violation of a strict inequality that holds with equality: samplers take 0 as satisfied."""

_LOG_SHARE: Final = 0.01
"""Weight of a power of log N beside a power of N in the size of a violation; the sign is exact."""

FORM: Final = "'metric operator number' such as 'params <= 2e6'"

_LEAST_LIMIT: Final = Fraction(1, 10**30)
_GREATEST_LIMIT: Final = Fraction(10**30)

_CONSTRAINT = re.compile(r"\s*([A-Za-z_]\w*)\s*([<>=!]+)\s*(\S+)\s*")
_NUMBER = re.compile(r"(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][-+]?\d{1,2})?")
_OPERATORS: Final = ("<", "<=", ">", ">=", "==")


@dataclass(frozen=True)
class Constraint:
    """``metric operator limit``; parsed by a pattern, never evaluated as code.

    Attributes:
        metric: One of ``METRICS``.
        operator: ``<``, ``<=``, ``>``, ``>=`` or ``==``.
        limit: Exact, so that ``growth < 1.5`` means what it says.
    """

    metric: str
    operator: str
    limit: Fraction

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Reads a constraint.

        Raises:
            InputError: The form, the metric, the operator or the number is not usable.
        """
        match = _CONSTRAINT.fullmatch(text) if len(text) <= 200 else None
        if match is None:
            raise InputError(f"got {text[:60]!r}; must be {FORM}")
        metric, operator, number = match.groups()
        if metric not in METRICS:
            raise InputError(
                f"unknown metric '{metric}'{suggestion(metric, METRICS)}"
                f" (known: {', '.join(METRICS)})"
            )
        if operator not in _OPERATORS:
            raise InputError(f"unknown operator '{operator}' (known: {', '.join(_OPERATORS)})")
        if not _NUMBER.fullmatch(number):
            raise InputError(
                f"got '{number[:60]}' as the limit; must be a number such as 2 or 400e6"
            )
        limit = Fraction(number)
        if limit and not _LEAST_LIMIT <= limit <= _GREATEST_LIMIT:
            raise InputError(f"got '{number[:60]}' as the limit; must be 0, or from 1e-30 to 1e30")
        if limit.denominator != 1:
            # the shortest decimal of the nearest float, so that it can be written out again
            limit = Fraction(repr(float(limit)))
        return cls(metric, operator, limit)

    def violation(self, values: Mapping[str, float | Growth]) -> float:
        """How far the values are from satisfying this.

        Args:
            values: The value of each metric; growth as ``Growth``, the others as numbers.

        Returns:
            At most 0 when satisfied; otherwise the excess relative to the limit, at least
            ``LEAST_VIOLATION``. NaN is infinitely violated.
        """
        value = values[self.metric]
        excess, order = self._compared(value)
        if math.isnan(excess):
            return math.inf
        satisfied = {
            "<": order < 0,
            "<=": order <= 0,
            ">": order > 0,
            ">=": order >= 0,
            "==": order == 0,
        }[self.operator]
        if self.operator == "==":
            excess = abs(excess)
        elif self.operator.startswith(">"):
            excess = -excess
        return min(excess, 0.0) if satisfied else max(excess, LEAST_VIOLATION)

    def _compared(self, value: float | Growth) -> tuple[float, int]:
        """Excess relative to the limit, and the sign of value - limit, exact."""
        scale = float(self.limit) or 1.0
        if isinstance(value, Growth):
            limit = Growth(self.limit)
            excess = float(value.power - self.limit) + _LOG_SHARE * value.log_power
            return excess / scale, (value > limit) - (value < limit)
        if not math.isfinite(value):
            return float(value), (value > 0) - (value < 0)
        exact = Fraction(value)
        # 0.1 as a float is not a tenth: the two are equal only when both are rounded
        bound = Fraction(float(self.limit)) if isinstance(value, float) else self.limit
        return float((exact - bound) / (bound or 1)), (exact > bound) - (exact < bound)

    def __str__(self) -> str:
        limit = self.limit
        number = str(limit.numerator) if limit.denominator == 1 else repr(float(limit))
        return f"{self.metric} {self.operator} {number}"
