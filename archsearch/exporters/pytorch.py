"""One Python file that needs nothing but torch."""

from __future__ import annotations

from pathlib import Path

from archsearch.exporters._code import code_of
from archsearch.exporters.base import ArchitectureFile, Exporter


def _render(file: ArchitectureFile) -> str:
    return code_of(file, None if file.weights is None else file.weights.file)


def _verify(path: Path, file: ArchitectureFile, ours: bytes | None = None) -> None:
    from archsearch.exporters._verify import (
        MismatchError,
        check_equal,
        check_weights,
        imported,
        tensors_of,
    )

    try:
        module = imported(path)
        model = module.build()
        if file.weights is not None:
            weights = path.parent / file.weights.file
            module.load_weights(model, weights)
            wanted = tensors_of(ours or weights.read_bytes())
            check_weights(str(path), model.state_dict(), wanted)
    except MismatchError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise MismatchError(f"{path}: cannot be rebuilt: {kind}: {error}") from error
    check_equal(str(path), file, model)


EXPORTER = Exporter(".py", _render, _verify)
