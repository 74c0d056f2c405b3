"""Attention for the positions that a learned gate picks (Arora et al. 2023, section 5)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from archsearch.architecture import Component
from archsearch.mixers._selection_cost import SelectingSpec
from archsearch.mixers.base import Citation, CostForm, MixerCost, reach_at


class LearnedSelection(SelectingSpec):
    """A position that the rule picks is served, as long as fewer than ``cap`` were before it.

    The rules read scores up to their own position only and are the same in training and evaluation;
    selecting the best of the whole sequence, as published code does, lets later tokens decide
    whether an earlier one is served. Positions that are not served get 0. Everything is priced at
    the cap, whatever number the rule picks: rising scores make a rank pick every position.

    Attributes:
        penalty: Weight of the auxiliary loss that closes gates where more than ``cap`` are open.
            At 0 nothing frees the slots that useless early positions take. A larger weight frees
            them sooner, and costs useful gates where a sequence needs just as many as there are.
        rule: What is picked: ``threshold``, scores above 1/2; ``prefix_rank``, scores among the
            ``rank`` largest so far, of equal ones the earlier (k(1 + ln(N/k)) positions of N if
            scores are in random order); ``chunked``, the same, begun again in every chunk.
        rank: k of the two rules that rank.
        chunk: Positions of a chunk of the rule ``chunked``.
        noise: Standard deviation of what is added in training to the scores (before the sigmoid)
            that the rule sees: positions that are never served learn nothing from the task.
        sparsity: Weight of the published auxiliary loss, relu(mean score - m/N).
    """

    name: ClassVar[str] = "learned_selection"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "sparse attention"
    formula: ClassVar[str] = (
        "y_i = z_i s_i Attn_i, s_i = sigmoid(w . x_i + b), z_i = p_i [sum_{j<i} p_j < m],"
        " p_i = [s_i > 1/2] or a rank among s_1..s_i"
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
    chunk: int = Field(64, ge=2, le=4096)
    noise: float = Field(0.0, ge=0, le=100)
    sparsity: float = Field(0.0, ge=0, le=100)

    @property
    def noisy(self) -> bool:
        return self.noise > 0

    @property
    def ranked(self) -> int:
        """Scores that decoding has to remember."""
        if self.rule == "threshold":
            return 0
        return min(self.rank, self.chunk) if self.rule == "chunked" else self.rank

    def cost(self, d_model: int, length: int) -> MixerCost:
        """2Nd for the gate, beside ``attention_cost``."""
        attention, gate = self.attention_cost(d_model, length), 2 * length * d_model
        return MixerCost(
            flops_useful=attention.flops_useful + gate,
            flops_executed=attention.flops_executed + gate,
            flops_matmul=attention.flops_matmul + gate,
            params=attention.params + d_model + 1,
            state_floats=attention.state_floats + self.ranked,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        return CostForm.of((2 * d_model, 1)) + self.attention_form(d_model, n_max)

    def canonical(self) -> Component:
        spec = self.plainly_headed()
        update: dict[str, Any] = {}
        if spec.rule != "chunked":
            update["chunk"] = type(spec).model_fields["chunk"].default
        if spec.rule == "threshold":
            update["rank"] = type(spec).model_fields["rank"].default
        elif spec.rule == "chunked":
            update["rank"] = min(spec.rank, spec.chunk)
        return spec.model_copy(update=update).component()

    def merged(self, n_max: int) -> Component:
        update: dict[str, Any] = {}
        # every cap that never binds is the same; the gate stays, so this is not full attention
        if reach_at(self.cap, n_max) >= n_max:
            update["cap"] = "N/1"
        if self.rule == "chunked" and self.chunk >= n_max:
            update |= {"rule": "prefix_rank", "rank": min(self.rank, self.chunk)}
        return LearnedSelection.canonical(self.model_copy(update=update))


SPEC = LearnedSelection
