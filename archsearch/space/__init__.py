"""Search spaces: campaign files, read strictly, and the designs that they allow."""

from archsearch.space.constraints import METRICS, Constraint
from archsearch.space.editor_schema import json_schema
from archsearch.space.loader import load, loads
from archsearch.space.sample import CompletedSuggest, FirstSuggest, RandomSuggest, Suggest
from archsearch.space.schema import CampaignFile, SearchConfig, Space

__all__ = [
    "METRICS",
    "CampaignFile",
    "CompletedSuggest",
    "Constraint",
    "FirstSuggest",
    "RandomSuggest",
    "SearchConfig",
    "Space",
    "Suggest",
    "json_schema",
    "load",
    "loads",
]
