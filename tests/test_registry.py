"""Adding a file adds a component; a wrong name is told the right one."""

from __future__ import annotations

import pytest

from archsearch.errors import UnknownNameError
from archsearch.execution import executors
from archsearch.exporters import exporters
from archsearch.mixers import modules, specs
from archsearch.registry import Registry
from archsearch.samplers import samplers


def test_what_there_is() -> None:
    assert executors.names() == ("ray", "serial")
    assert exporters.names() == (
        "bibtex", "fla", "huggingface", "json", "pytorch", "yaml", "zoology",
    )  # fmt: skip
    assert samplers.names() == (
        "gp",
        "nsga2",
        "portfolio",
        "random",
        "structural",
        "surrogate",
        "tpe",
    )
    assert specs.names() == modules.names()
    assert "base" not in specs
    assert all(not name.startswith("_") for name in specs)


@pytest.mark.parametrize("registry", [executors, exporters, samplers, specs], ids=lambda r: r.kind)
def test_every_name_is_found(registry: Registry[object]) -> None:
    for name in registry:
        assert name in registry
        assert registry.get(name) is registry.get(name)


def test_a_wrong_name_is_told_the_right_one() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown sampler 'tpee'; did you mean 'tpe'\?"):
        samplers.get("tpee")
    with pytest.raises(
        UnknownNameError, match="known: gp, nsga2, portfolio, random, structural, surrogate, tpe"
    ):
        samplers.get("zzz")
    assert 3 not in samplers


def test_names_are_listed_without_importing() -> None:
    lazy: Registry[object] = Registry("x", "archsearch.execution", "EXECUTOR")
    assert lazy.names() == executors.names()
