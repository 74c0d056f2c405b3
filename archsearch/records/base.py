"""What all records are, and how they are sealed."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from archsearch.errors import StoreError


def now_text() -> str:
    """The time in UTC, for people; nothing is decided by it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Record(BaseModel):
    """Frozen, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


R = TypeVar("R", bound=BaseModel)


def seal(record: BaseModel) -> str:
    """The record as JSON with a checksum: ``{"sha256": ..., "record": {...}}``."""
    body = record.model_dump(mode="json")
    return json.dumps({"sha256": checksum(body), "record": body}, allow_nan=False)


def checksum(body: Any) -> str:
    """SHA-256 of plain data, whatever the order of its keys."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def unseal(kind: type[R], text: str, where: str) -> R:
    """The record again.

    Raises:
        StoreError: The text is not such a record, or not the one that was sealed.
    """
    try:
        sealed = json.loads(text)
        body = sealed["record"]
        if checksum(body) != sealed["sha256"]:
            raise StoreError(
                f"{where}: the record's checksum does not match; it was changed or damaged"
            )
        return kind.model_validate(body)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        detail = str(error).splitlines()[0]
        raise StoreError(f"{where}: not a {kind.__name__} record ({detail})") from None
