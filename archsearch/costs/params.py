"""Trainable parameters: mixers, norms and positions; embedding and head are told apart."""

from __future__ import annotations

from archsearch.architecture import Architecture
from archsearch.costs._mixers import active_mixers, channel_mixers


def num_params(architecture: Architecture, max_length: int) -> int:
    """Parameters without embedding and head.

    A norm stands before each block's sequence mixers, before each channel mixer that is not skipped
    and at the end: d scales, and for a LayerNorm d shifts. Two sequence mixers in parallel have 2d
    gates. Learned positions are a table of ``max_length`` rows.

    Args:
        architecture: The design.
        max_length: Longest sequence that the model can read.
    """
    d_model = architecture.d_model
    mixers = active_mixers(architecture)
    blocks = architecture.blocks
    num_norms = len(blocks) + channel_mixers(architecture).total() + 1
    gates = 2 * d_model * sum(block.parallel is not None for block in blocks)
    per_norm = d_model * (2 if architecture.norm == "layernorm" else 1)
    table = max_length * d_model if architecture.position == "learned" else 0
    return (
        sum(count * spec.cost(d_model, max_length).params for spec, count in mixers.items())
        + num_norms * per_norm
        + gates
        + table
    )


def embedding_params(architecture: Architecture, vocab_size: int) -> int:
    """Parameters of the token embedding, which is also the head."""
    return vocab_size * architecture.d_model
