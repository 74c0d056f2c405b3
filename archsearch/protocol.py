"""How a design is trained and scored: plain settings, the same for every design of a campaign."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["auto", "float32", "bfloat16"]

SUCCESS_ACCURACY = 0.995
"""A run stops when every validation cell passes this, and no cell counts beyond it."""

SOLVED_ACCURACY = 0.99
"""A design solves the task when every test cell reaches this."""


class TrainingConfig(BaseModel):
    """Settings of one training run.

    Attributes:
        steps: Optimizer steps of the full budget; also the horizon of the schedule.
        batch_tokens: Tokens of a batch, whatever its cell; no fewer than a training sequence has.
        learning_rate: Peak of the schedule.
        warmup_fraction: Share of the steps with a linearly rising rate; cosine to zero after it.
        weight_decay: AdamW's, on the weights of linear maps, embeddings and masked mixers only.
        clip_norm: Largest norm of the gradient.
        eval_every: Steps between validations.
        validation_queries: Queries per cell in a validation.
        test_queries: Queries per cell in the final test.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    steps: Annotated[int, Field(ge=1, le=10_000_000)] = 2400
    batch_tokens: Annotated[int, Field(ge=4, le=2**24)] = 2048
    learning_rate: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 3e-3
    warmup_fraction: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.1
    weight_decay: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.1
    clip_norm: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 1.0
    eval_every: Annotated[int, Field(ge=1)] = 50
    validation_queries: Annotated[int, Field(ge=1, le=10_000_000)] = 1024
    test_queries: Annotated[int, Field(ge=1, le=10_000_000)] = 4096
    precision: Precision = "auto"

    def batch_sequences(self, length: int) -> int:
        """Sequences of that many tokens in a batch."""
        return max(1, self.batch_tokens // length)
