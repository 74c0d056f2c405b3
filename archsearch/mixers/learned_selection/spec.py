"""Attention for the positions that a learned gate picks (Arora et al. 2023, section 5)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar, Literal

from pydantic import Field

from archsearch.architecture import Component
from archsearch.mixers._selection_cost import SelectingSpec
from archsearch.mixers.base import (
    Citation,
    CostForm,
    CostTerm,
    MixerCost,
    Reach,
    reach_at,
    reach_term,
)


class LearnedSelection(SelectingSpec):
    """A position that the rule picks is served, as long as fewer than ``cap`` were before it.

    The rules read scores up to their own position only and are the same in training and evaluation;
    selecting the best of the whole sequence, as published code does, lets later tokens decide
    whether an earlier one is served. Positions that are not served get 0. Everything is priced at
    the cap, whatever number the rule picks: rising scores make a rank pick every position.

    The rules that rank always pick the first ``rank`` positions, whatever the gate learns, and of
    equal scores the earlier. The rank must reach the number of queries to be served at once, and
    the cap that number plus the rank: a constant cap that is no larger than the rank would leave
    nothing to the gate, and is refused.

    Attributes:
        cap: m, the most positions served: a number, or a policy of the length of the sequence.
            Under the rule ``chunked`` it holds for each chunk: the most positions served of one, a
            number or a policy of the length of a chunk.
        penalty: Weight of the auxiliary loss that closes gates where more than ``cap`` are open, of
            the rule ``threshold`` alone. At 0 nothing frees the slots that useless early positions
            take. A larger weight frees them sooner, and costs useful gates where a sequence needs
            just as many as there are. Without effect under the other rules: what they pick depends
            on the order of the scores, which pressing on all of them does not change.
        rule: What is picked: ``threshold``, scores above 1/2; ``prefix_rank``, scores among the
            ``rank`` largest so far, of equal ones the earlier (k(1 + ln(N/k)) positions of N if
            scores are in random order); ``chunked``, the same, begun again in every chunk, as is
            the count of the served.
        rank: k of the two rules that rank.
        chunk: c, positions of a chunk of the rule ``chunked``: a number, or a policy of the length
            of the sequence. Up to m N/c positions are served, and as many priced: m sqrt(N) with
            ``sqrt`` (growth N^1.5), km with ``N/k`` (growth N), but a fixed share of all positions
            with a constant (growth N^2).
        noise: Standard deviation of what is added in training to the scores (before the sigmoid)
            that the rule sees: positions that are never served learn nothing from the task.
        sparsity: Weight of the published auxiliary loss, relu(mean score - share), where the share
            is that of the positions that can be served, m/N. It stops when the mean has come down
            to the share, so that scores do not vanish; a share below 1/2 can still bring all of
            them under the ``threshold``, which only ``penalty`` then undoes.
    """

    name: ClassVar[str] = "learned_selection"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "sparse attention"
    formula: ClassVar[str] = (
        "y_i = z_i s_i Attn_i, s_i = sigmoid(w . x_i + b), z_i = p_i [sum_{j<i} p_j < m],"
        " p_i = [s_i > 1/2] or a rank among s_1..s_i; sum and rank over all or over i's chunk"
    )
    citation: ClassVar[Citation] = Citation(
        "Arora et al. 2023 (Zoology)", "2312.04927", "section 5"
    )
    later_options: ClassVar[frozenset[str]] = frozenset(
        {"num_kv_heads", "rule", "rank", "chunk", "noise", "sparsity"}
    )

    penalty: float = Field(1.0, ge=0, le=100)
    rule: Literal["threshold", "prefix_rank", "chunked"] = "threshold"
    rank: int = Field(16, ge=1, le=1024)
    chunk: Reach = "N/4"
    noise: float = Field(0.0, ge=0, le=100)
    sparsity: float = Field(0.0, ge=0, le=100)

    @property
    def noisy(self) -> bool:
        return self.noise > 0

    def problems(self, d_model: int) -> list[str]:
        found = super().problems(d_model)
        if self.rule == "threshold":
            return found
        cap: int | str = self.cap
        if self.rule == "chunked" and isinstance(self.chunk, int):
            cap = min(reach_at(cap, self.chunk), self.chunk)
        if isinstance(cap, int) and self.rank >= cap:
            where = " of each chunk" if self.rule == "chunked" else ""
            found.append(
                f"rank={self.rank} must be below the {cap} positions{where} that can be served:"
                " the first ones up to the rank are always picked"
            )
        return found

    def caps(self, length: int) -> tuple[int, int]:
        """The most positions served of a chunk, and positions of a chunk.

        The whole sequence is the one chunk of the other rules.
        """
        chunk = reach_at(self.chunk, length) if self.rule == "chunked" else length
        return min(reach_at(self.cap, chunk), chunk, length), min(chunk, length)

    def served(self, length: int) -> int:
        """The cap of every whole chunk, and of a rest that is shorter all."""
        cap, chunk = self.caps(length)
        return length // chunk * cap + min(cap, length % chunk)

    def served_term(self, n_max: int | None) -> CostTerm:
        """N m/c: a share of N where c is constant, and where m is and is over a quarter of c."""
        if self.rule != "chunked":
            return super().served_term(n_max)
        m, c = reach_term(self.cap, None), reach_term(self.chunk, None)
        if isinstance(self.chunk, int):
            tested = self.chunk if n_max is None else n_max
            return CostTerm(self.served(tested) / tested, Fraction(1))
        if n_max is not None and isinstance(self.cap, int) and 4 * self.served(n_max) > n_max:
            return CostTerm(self.served(n_max) / n_max, Fraction(1))
        share = m.coefficient * c.coefficient ** float(m.power - 1)
        return CostTerm(share, 1 + c.power * (m.power - 1))

    def ranked(self, length: int) -> int:
        """Scores that decoding has to remember."""
        if self.rule == "threshold":
            return 0
        if self.rule == "chunked":
            return min(self.rank, reach_at(self.chunk, length))
        return self.rank

    def cost(self, d_model: int, length: int) -> MixerCost:
        """2Nd for the gate, beside ``attention_cost``."""
        attention, gate = self.attention_cost(d_model, length), 2 * length * d_model
        return MixerCost(
            flops_useful=attention.flops_useful + gate,
            flops_executed=attention.flops_executed + gate,
            flops_matmul=attention.flops_matmul + gate,
            params=attention.params + d_model + 1,
            state_floats=attention.state_floats + self.ranked(length),
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        return CostForm.of((2 * d_model, 1)) + self.attention_form(d_model, n_max)

    def canonical(self) -> Component:
        update: dict[str, Any] = {}
        if self.rule == "chunked" and isinstance(self.chunk, int):
            cap = reach_at(self.cap, self.chunk)
            update["cap"] = cap if cap < self.chunk else "N/1"
        return self._with_active(update)

    def merged(self, n_max: int) -> Component:
        spec = type(self).model_validate(self.canonical().options)
        update: dict[str, Any] = {}
        cap, chunk = spec.caps(n_max)
        if chunk == n_max:
            update["rule"] = "prefix_rank" if spec.rule == "chunked" else spec.rule
        # every cap that never binds is the same; the gate stays, so this is not full attention
        if cap == chunk:
            update["cap"] = "N/1"
        return spec._with_active(update)

    def _with_active(self, update: dict[str, Any]) -> Component:
        """Changed as told, with options that the rule does not read at their defaults."""
        spec = self.plainly_headed().model_copy(update=update)
        if spec.rule == "chunked" and spec.chunk == "N/1":
            spec = spec.model_copy(update={"rule": "prefix_rank"})
        unread = {
            "threshold": ("rank", "chunk"),
            "prefix_rank": ("penalty", "chunk"),
            "chunked": ("penalty",),
        }[spec.rule]
        fields = type(spec).model_fields
        return spec.model_copy(update={key: fields[key].default for key in unread}).component()


SPEC = LearnedSelection
