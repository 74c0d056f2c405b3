"""The JSON Schema of a campaign file, from the models and specs that the loader checks with."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel

from archsearch.architecture import Norm, Position
from archsearch.mixers import specs
from archsearch.presets import presets
from archsearch.protocol import TrainingConfig
from archsearch.space.constraints import METRICS
from archsearch.space.parse_domains import Kind
from archsearch.space.schema import NAME_PATTERN, SECOND_OBJECTIVES, SearchConfig
from archsearch.tasks.mqar import MQARConfig


def _object(properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _domain(value: dict[str, Any]) -> dict[str, Any]:
    positive = {"type": "number", "exclusiveMinimum": 0}
    bounds = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    return {
        "anyOf": [
            value,
            _object({"choice": {"type": "array", "items": value, "minItems": 1}}, ("choice",)),
            _object({"range": bounds, "log": {"type": "boolean"}, "step": positive}, ("range",)),
        ]
    }


def _mixers(kind: str) -> dict[str, Any]:
    """A mixer domain of one kind, from what the registered specs declare."""
    fitting = [specs.get(name) for name in specs if specs.get(name).fits(kind)]
    ones: list[dict[str, Any]] = [
        {
            "enum": [
                s.name for s in fitting if not any(f.is_required() for f in s.model_fields.values())
            ]
        }
    ]
    for spec in fitting:
        schema = spec.model_json_schema()
        options = {
            key: _domain({k: v for k, v in value.items() if k not in ("title", "default")})
            for key, value in schema.get("properties", {}).items()
        }
        required = ("mixer", *schema.get("required", ()))
        ones.append(_object({"mixer": {"const": spec.name}, **options}, required))
    one = {"anyOf": ones}
    return {
        "anyOf": [
            one,
            _object({"choice": {"type": "array", "items": one, "minItems": 1}}, ("choice",)),
        ]
    }


def _parts() -> dict[str, Any]:
    """The parts of a block."""
    mixers = {kind: {"$ref": f"#/$defs/{kind}_mixer"} for kind in get_args(Kind)}
    return {**mixers, "local_conv": _domain({"enum": [0, 3, 4]})}


def _layers(block: dict[str, Any]) -> dict[str, Any]:
    ref = _parts()
    number = _domain({"type": "integer", "minimum": 0})
    rule = {
        "anyOf": [
            {"const": "positions"},
            _object({"every": number}, ("every",)),
            _object({"count": number}, ("count",)),
        ]
    }
    rules = _object({"choice": {"type": "array", "items": rule, "minItems": 1}}, ("choice",))
    placement = _object({**ref, "rule": {"anyOf": [rule, rules]}}, ("sequence", "rule"))
    return {
        "oneOf": [
            _object({"each": block}, ("each",)),
            _object({"list": {"type": "array", "items": block, "minItems": 1}}, ("list",)),
            _object({"base": block, "placement": placement}, ("base", "placement")),
            _object({"preset": _domain({"enum": list(presets)})}, ("preset",)),
        ]
    }


def _space() -> dict[str, Any]:
    return _object(
        {
            "d_model": _domain({"type": "integer", "minimum": 1, "maximum": 65536}),
            "position": _domain({"enum": list(get_args(Position))}),
            "norm": _domain({"enum": list(get_args(Norm))}),
            "depth": _domain({"type": "integer", "minimum": 1, "maximum": 512}),
            "layers": _layers({"$ref": "#/$defs/block"}),
        },
        ("d_model", "layers"),
    )


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a campaign file, for editors; the loader checks more than it."""
    definitions: dict[str, Any] = {
        **{f"{kind}_mixer": _mixers(kind) for kind in get_args(Kind)},
        "block": _object(_parts(), ("sequence",)),
    }
    models: dict[str, type[BaseModel]] = {
        "task": MQARConfig,
        "training": TrainingConfig,
        "search": SearchConfig,
    }
    for key, model in models.items():
        schema = model.model_json_schema()
        definitions.update(schema.pop("$defs", {}))
        definitions[key] = schema
    top = _object(
        {
            "name": {"type": "string", "pattern": NAME_PATTERN},
            "title": {"type": "string", "maxLength": 300},
            **{key: {"$ref": f"#/$defs/{key}"} for key in models},
            "space": _space(),
            "objectives": {
                "prefixItems": [
                    {"const": "accuracy"},
                    {"enum": list(SECOND_OBJECTIVES)},
                    {"const": "learnability"},
                ],
                "type": "array",
                "minItems": 2,
                "maxItems": 3,
            },
            "constraints": {
                "type": "array",
                "items": {"type": "string", "pattern": rf"^\s*({'|'.join(METRICS)})\s*[<>=]"},
            },
        },
        ("name", "task", "space"),
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "archsearch campaign file",
        **top,
        "$defs": definitions,
    }
