"""A design as frozen plain data: no torch, no file, no search in it."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

Scalar = bool | int | float | str
Position = Literal["none", "learned", "rotary"]
Norm = Literal["layernorm", "rmsnorm"]


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Component(_Plain):
    """A mixer by name, with its options."""

    name: str
    options: dict[str, Scalar] = Field(default_factory=dict)

    def __str__(self) -> str:
        if not self.options:
            return self.name
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in sorted(self.options.items()))})"


class Block(_Plain):
    """A sequence mixer followed by a channel mixer, each behind a norm and inside a residual.

    Attributes:
        sequence: The sequence mixer.
        channel: The channel mixer; ``none`` skips its sublayer, norm included.
        parallel: A second sequence mixer that reads the same input; the two outputs are summed,
            each under a learned gate per channel.
        local_conv: Taps of a causal depthwise convolution in front of the sequence mixers; 0 for
            none.
    """

    sequence: Component
    channel: Component = Component(name="none")
    parallel: Component | None = None
    local_conv: Literal[0, 3, 4] = 0

    @model_serializer(mode="wrap")
    def _leave_out_what_is_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # blocks were described, and digests taken, before these two parts existed
        data: dict[str, Any] = handler(self)
        if self.parallel is None:
            data.pop("parallel", None)
        if self.local_conv == 0:
            data.pop("local_conv", None)
        return data

    @property
    def mixers(self) -> tuple[Component, ...]:
        """The one or two sequence mixers."""
        return (self.sequence,) if self.parallel is None else (self.sequence, self.parallel)

    @property
    def sequence_text(self) -> str:
        """The sequence mixers and what stands in front of them, to read."""
        text = " & ".join(map(str, self.mixers))
        text = f"({text})" if self.parallel is not None else text
        return f"conv{self.local_conv}:{text}" if self.local_conv else text

    def __str__(self) -> str:
        return self.sequence_text + ("" if self.channel.name == "none" else f"+{self.channel}")


class Architecture(_Plain):
    """A whole design, apart from vocabulary and length.

    Attributes:
        d_model: Width of the residual stream.
        position: ``learned`` adds a table at the embedding, ``rotary`` turns queries and keys of
            the attention mixers, ``none`` leaves order to convolutions and masks.
        norm: Norm before each mixer and at the end.
        blocks: First to last.
    """

    schema_version: Literal[1] = 1
    d_model: Annotated[int, Field(ge=1, le=65536)]
    position: Position = "none"
    norm: Norm = "layernorm"
    blocks: Annotated[tuple[Block, ...], Field(min_length=1, max_length=512, strict=False)]

    def canonical_json(self) -> str:
        """JSON with sorted keys and no spaces: equal designs give equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()[:16]

    def __str__(self) -> str:
        extras = "" if self.position == "none" else f" {self.position}"
        extras += "" if self.norm == "layernorm" else f" {self.norm}"
        return f"d{self.d_model}{extras}: " + " > ".join(str(block) for block in self.blocks)
