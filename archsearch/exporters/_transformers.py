"""A folder loaded by transformers, in a process of its own, and held against our network."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import torch
from torch import Tensor

from archsearch.exporters._verify import TOLERANCES, MismatchError, check_logits, own_model
from archsearch.exporters.base import ArchitectureFile

_MOST_TOKENS: Final = 64
_SECONDS: Final = 600
_SCRIPT: Final = """
import sys
import torch
try:
    from transformers import AutoConfig, AutoModelForCausalLM
except Exception:
    sys.exit(0)  # nothing that the folder could help
folder, tokens, logits, has_weights = sys.argv[1:]
told = {"trust_remote_code": True}
if has_weights:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **told)
else:
    config = AutoConfig.from_pretrained(folder, **told)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, **told)
with torch.no_grad():
    torch.save(model.eval()(torch.load(tokens)).logits, logits)
"""


def check_loaded(
    folder: Path, file: ArchitectureFile, weights: Mapping[str, Tensor] | None
) -> bool:
    """Compares logits at one length, where transformers can be imported.

    Args:
        folder: What was written.
        file: The design, with the name of its weights if there are any in the folder.
        weights: Ours by name; None for a folder whose weights are drawn, or are not to be compared.

    Returns:
        False where transformers cannot be imported.

    Raises:
        MismatchError: transformers cannot load the folder, or compute something else.
    """
    if find_spec("transformers") is None:
        return False
    if weights is None and file.weights is not None:
        return True
    ours = own_model(file).eval()
    if weights is not None:
        ours.load_state_dict(weights)
    generator = torch.Generator().manual_seed(0)
    length = min(file.task.longest_length, _MOST_TOKENS)
    tokens = torch.randint(file.task.vocab_size, (1, length), generator=generator)
    with torch.no_grad():
        expected = ours(tokens)
    found = _logits(folder, tokens, has_weights=file.weights is not None)
    if found is None:
        return False
    # weights that have diverged make no number on either side
    if bool(expected.isfinite().all()):
        where = f"{folder}: loaded by transformers"
        check_logits(where, found, expected, TOLERANCES[torch.float32])
    return True


def _logits(folder: Path, tokens: Tensor, *, has_weights: bool) -> Tensor | None:
    """What transformers make of some tokens; None where these cannot be imported."""
    with TemporaryDirectory(prefix="archsearch-") as name:
        home = Path(name)
        given, made = home / "tokens.pt", home / "logits.pt"
        torch.save(tokens, given)
        # code is copied into the cache before it is imported: not into the user's
        environment = {
            **os.environ,
            "HF_HOME": name,
            "HF_MODULES_CACHE": str(home / "modules"),
            "HF_HUB_OFFLINE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [sys.executable, "-P", "-W", "ignore", "-c", _SCRIPT]
        arguments = [str(folder.resolve()), str(given), str(made), "1" if has_weights else ""]
        try:
            ran = subprocess.run(
                [*command, *arguments],
                env=environment,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise MismatchError(
                f"{folder}: not loaded by transformers within {_SECONDS} seconds"
            ) from None
        if ran.returncode != 0:
            last = (ran.stderr.strip().splitlines() or ["no message"])[-1]
            raise MismatchError(f"{folder}: cannot be loaded by transformers: {last}")
        found: Tensor | None = torch.load(made) if made.exists() else None
        return found
