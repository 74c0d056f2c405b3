"""Nodes to layers: the four forms in which a space can give them."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from archsearch.errors import suggestion
from archsearch.presets import presets
from archsearch.space.domains import Domain, MixerDomain, MixerOption, ints
from archsearch.space.layers import (
    MAX_COMBINATIONS,
    MAX_DEPTH,
    BlockDomain,
    Count,
    Every,
    FreeLayers,
    Layers,
    ListedLayers,
    PlacedLayers,
    Positions,
    PresetLayers,
    Rule,
)
from archsearch.space.nodes import UNREADABLE, Node, Place, join
from archsearch.space.parse_domains import MixerReader, read_domain, strict
from archsearch.space.reader import Reader, found

DEPTH: Final = strict(Annotated[int, Field(ge=1, le=MAX_DEPTH)])
_COUNT: Final = strict(Annotated[int, Field(ge=0, le=MAX_DEPTH)])
_TAPS: Final = strict(Literal[0, 3, 4])
_PRESET: Final = strict(Literal[*presets.names()])
_PARTS: Final = ("sequence", "channel", "parallel", "local_conv")


class LayersReader:
    """Reads ``layers`` in one of its four forms, and ``depth`` with it."""

    def __init__(
        self, reader: Reader, mixers: MixerReader, space: Node, path: str, entries: dict[str, Node]
    ) -> None:
        self._reader = reader
        self._mixers = mixers
        self._space = space
        self._space_path = path
        self._entries = entries
        self._path = join(path, "layers")

    def read(self, depth: Domain | None) -> Layers | None:
        """The layers; None when a problem was reported."""
        node = self._entries["layers"]
        known = ("each", "list", "base", "placement", "preset")
        entries = self._reader.mapping(node, self._path, known)
        if entries is None:
            return None
        forms = {"base" if key == "placement" else key for key in entries}
        if len(forms) != 1:
            what = "several of" if forms else "none of"
            text = f"{what} 'each', 'list', 'base' + 'placement' and 'preset'; give exactly one"
            if not (node.keys.keys() - set(known)) or forms:
                self._reader.report(node.place, self._path, text)
            return None
        if "list" in entries:
            return self._listed(entries["list"])
        if "depth" not in self._entries:
            text = "missing key 'depth'"
            self._reader.report(self._space.place, self._space_path, text)
        if "each" in entries:
            each = self._block(entries["each"], join(self._path, "each"))
            return FreeLayers(depth, each) if depth and each else None
        if "preset" in entries:
            return self._preset(entries["preset"], depth)
        return self._placed(entries, depth)

    def _block(self, node: Node, path: str) -> BlockDomain | None:
        entries = self._reader.mapping(node, path, _PARTS, required=("sequence",))
        if entries is None:
            return None
        parts = self._parts(entries, path)
        if parts is None or "sequence" not in parts:
            return None
        return BlockDomain(**{"channel": MixerDomain((MixerOption("none", ()),)), **parts})

    def _parts(self, entries: dict[str, Node], path: str) -> dict[str, Any] | None:
        """The parts of a block that were given; None when a problem was reported."""
        parts: dict[str, Any] = {}
        for part in _PARTS:
            if part not in entries:
                continue
            node, inner = entries[part], join(path, part)
            if part == "local_conv":
                parts[part] = self._taps(node, inner)
            else:
                parts[part] = self._mixers.read(node, inner, part)
        return None if None in parts.values() else parts

    def _taps(self, node: Node, path: str) -> Domain | None:
        if isinstance(node.value, dict) and "range" in node.value:
            text = "a range would hold 1 and 2; write {choice: [0, 3, 4]} or one of them"
            self._reader.report(node.place, path, text)
            return None
        return read_domain(self._reader, node, path, _TAPS)

    def _listed(self, node: Node) -> Layers | None:
        path = join(self._path, "list")
        if "depth" in self._entries:
            depth_path = join(self._space_path, "depth")
            text = "not allowed beside 'layers.list', whose length is the depth; remove it"
            self._reader.report(self._space.keys["depth"], depth_path, text)
        items = self._reader.items(node, path)
        if items is None:
            return None
        if not 1 <= len(items) <= MAX_DEPTH:
            text = f"got {len(items)} layers; must be 1 to {MAX_DEPTH}"
            self._reader.report(node.place, path, text)
            return None
        blocks = [self._block(item, join(path, i)) for i, item in enumerate(items)]
        whole = tuple(block for block in blocks if block)
        return ListedLayers(whole) if len(whole) == len(blocks) else None

    def _preset(self, node: Node, depth: Domain | None) -> Layers | None:
        for key in ("norm", "position"):
            if key in self._entries:
                text = "not allowed beside 'layers.preset', which decides it; remove it"
                self._reader.report(self._space.keys[key], join(self._space_path, key), text)
        preset = read_domain(self._reader, node, join(self._path, "preset"), _PRESET)
        return PresetLayers(depth, preset) if depth and preset else None

    def _placed(self, entries: dict[str, Node], depth: Domain | None) -> Layers | None:
        for key in ("base", "placement"):
            if key not in entries:
                text = f"missing key '{key}'; 'base' and 'placement' go together"
                self._reader.report(self._entries["layers"].place, self._path, text)
        base = self._block(entries["base"], join(self._path, "base")) if "base" in entries else None
        if "placement" not in entries:
            return None
        path = join(self._path, "placement")
        known = (*_PARTS, "rule")
        inner = self._reader.mapping(
            entries["placement"], path, known, required=("sequence", "rule")
        )
        if inner is None:
            return None
        parts = self._parts(inner, path)
        rules = self._rules(inner["rule"], join(path, "rule"), depth) if "rule" in inner else []
        if not base or not depth or not rules or parts is None or "sequence" not in parts:
            return None
        # the rest of the base's block stands around what is placed, but not what runs beside it
        shared = {"channel", "local_conv"} - parts.keys()
        placed = BlockDomain(**{part: getattr(base, part) for part in shared}, **parts)
        return PlacedLayers(depth, base, placed, frozenset(shared), tuple(rules))

    def _rules(self, node: Node, path: str, depth: Domain | None) -> list[Rule]:
        nodes: tuple[Node, ...] | None = (node,)
        paths = [path]
        if isinstance(node.value, dict) and "choice" in node.value:
            self._reader.mapping(node, path, ("choice",))
            path = join(path, "choice")
            nodes = self._reader.items(node.value["choice"], path)
            paths = [join(path, i) for i in range(len(nodes or ()))]
            if nodes == ():
                self._reader.report(node.place, path, "the list is empty; give at least one rule")
        rules: list[Rule] = []
        for item, item_path in zip(nodes or (), paths, strict=True):
            rule = self._rule(item, item_path, depth)
            if rule is None:
                continue
            if any(rule.kind == other.kind for other in rules):
                text = f"'{rule.kind}' again; list a rule once and give it a choice"
                self._reader.report(item.place, item_path, text)
            rules.append(rule)
        return rules

    def _rule(self, node: Node, path: str, depth: Domain | None) -> Rule | None:
        if node.value is UNREADABLE:
            return None
        if node.value == "positions":
            return Positions()
        keys = list(node.keys)
        if isinstance(node.value, dict) and len(keys) == 1 and keys[0] in ("every", "count"):
            key = keys[0]
            domain = read_domain(
                self._reader, node.value[key], join(path, key), DEPTH if key == "every" else _COUNT
            )
            if domain is None:
                return None
            if key == "every":
                return Every(domain)
            self._check_count(node.value[key].place, join(path, key), domain, depth)
            return Count(domain)
        value = node.plain()
        hint = ""
        if isinstance(value, str):
            hint = suggestion(value, ("positions", "every", "count"))
            if value in ("every", "count"):
                hint = f"; write {{{value}: 2}}"
        elif isinstance(value, dict) and len(keys) == 1:
            hint = suggestion(keys[0], ("every", "count", "choice"))
        text = f"{found(value)}; must be positions, {{every: ...}} or {{count: ...}}{hint}"
        self._reader.report(node.place, path, text)
        return None

    def _check_count(self, place: Place, path: str, count: Domain, depth: Domain | None) -> None:
        if depth is None:
            return
        most, least = max(ints(count)), min(ints(depth))
        if most > least:
            text = (
                f"up to {most} layers are to be placed, but depth can be {least};"
                " must be at most the smallest depth"
            )
            self._reader.report(place, path, text)
            return
        worst = max(_subsets(depth, count), key=lambda item: item[0])
        if worst[0] > MAX_COMBINATIONS:
            text = (
                f"{worst[0]} ways to place {worst[2]} of {worst[1]} layers; at most"
                f" {MAX_COMBINATIONS} are supported; use 'positions' or fewer layers"
            )
            self._reader.report(place, path, text)


def _subsets(depth: Domain, count: Domain) -> list[tuple[int, int, int]]:
    return [(math.comb(d, c), d, c) for d in ints(depth) for c in ints(count)]
