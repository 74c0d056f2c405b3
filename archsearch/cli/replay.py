"""``archsearch replay``: whether a campaign's decisions follow from its records."""

from __future__ import annotations

from archsearch.cli._options import AsJson, Directory


def replay(directory: Directory, as_json: AsJson = False) -> None:
    """Derive each decision of a campaign from its records again; show the first that differs."""
    from archsearch.campaign.config import check_versions
    from archsearch.campaign.reading import read
    from archsearch.campaign.replay import replay as derive
    from archsearch.cli import render
    from archsearch.cli._session import warn
    from archsearch.errors import GoalNotMetError

    reading = read(directory)
    for warning in check_versions(reading.campaign.settings):
        warn(warning)
    found = derive(reading.campaign, reading.records, reading.confirmations)
    first = found.first
    if as_json:
        plain = None if first is None else first._asdict()
        render.print_json({**found._asdict(), "first": plain})
    else:
        render.print_line(
            f"{found.proposals:,} proposals, {found.judgements:,} judgements and"
            f" {found.confirmations:,} confirmations follow again"
        )
        if found.left:
            render.print_line(
                f"not followed: {found.left:,} more, from trial {found.proposals} on, which was"
                " never told"
            )
    if first is not None:
        raise GoalNotMetError(
            f"{directory}: trial {first.trial}: {first.decision}: recorded {first.recorded};"
            f" follows {first.derived}"
        )
