"""Puts a driver together: lock, store, executor; and takes it apart again, whatever happens."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from archsearch.campaign.config import Campaign, probe
from archsearch.campaign.confirm import Confirmer
from archsearch.campaign.dispatch import WorkerSettings
from archsearch.campaign.driver import Driver
from archsearch.campaign.lock import CampaignLock
from archsearch.campaign.progress import Ending, EndKind, Observer, Stop
from archsearch.execution import executors
from archsearch.execution.base import Executor, ExecutorOptions
from archsearch.storage import Store

_MEMORY_SHARE = 0.9


@dataclass(frozen=True)
class LaunchOptions:
    """How a campaign is carried out; none of it changes what is found.

    Attributes:
        executor: Name of the executor.
        device: Where models are trained: ``auto``, or as torch names it.
    """

    executor: str = "ray"
    options: ExecutorOptions = field(default_factory=ExecutorOptions)
    device: str = "cpu"


def launch(
    campaign: Campaign,
    how: LaunchOptions,
    observer: Observer,
    stop: Stop,
    *,
    changes: Mapping[str, object] | None = None,
    on_started: Callable[[], None] = lambda: None,
    search: bool = True,
) -> Ending:
    """Begins a campaign, or continues one: searches, then confirms what it found.

    Args:
        campaign: Its folder exists.
        how: Executor and its options.
        observer: Is told what happens.
        stop: How the user ends it.
        changes: Settings to change, such as a larger budget.
        on_started: Called when the executor runs: Ray sets signal handlers, ours come after.
        search: Otherwise confirms only, whatever became of the search.

    Raises:
        CampaignHeldError: Another driver is at work.
        ClusterError: The executor cannot be started or is gone.
        StoreError: The study cannot be opened or written.
    """
    # the executor first: when it cannot start, no study has been made anywhere
    with CampaignLock(campaign.directory), executors.get(how.executor)(how.options) as executor:
        probe(campaign.directory)
        store = Store(
            campaign.storage_url,
            campaign.settings.study,
            objectives=campaign.objectives,
            create=not campaign.has_begun,
        )
        try:
            campaign.begin()
            if changes:
                campaign.freeze(**changes)
            on_started()
            worker = worker_of(how, executor.slots)
            with store.guarded():
                return work(campaign, store, executor, observer, stop, worker, search=search)
        finally:
            store.close()


def work(
    campaign: Campaign,
    store: Store,
    executor: Executor,
    observer: Observer,
    stop: Stop,
    worker: WorkerSettings,
    *,
    search: bool = True,
) -> Ending:
    """Searches, and confirms what a search that came to its end has found.

    Args:
        campaign: Its lock is the caller's.
        store: Its study, open for writing.
        executor: Carries out requests.
        observer: Is told what happens.
        stop: How the user ends it.
        worker: What a worker may use.
        search: Otherwise confirms only.
    """
    searched = None
    if search:
        searched = Driver(campaign, store, executor, observer, stop, worker).run()
        if searched.kind is not EndKind.FINISHED or not campaign.settings.confirm_seeds:
            return searched
    confirmed = Confirmer(campaign, store, executor, observer, stop, worker).run()
    if searched is None:
        return confirmed
    return confirmed._replace(reason=f"{searched.reason}; confirmation: {confirmed.reason}")


def worker_of(how: LaunchOptions, slots: int) -> WorkerSettings:
    """What each of so many workers may use."""
    return WorkerSettings(
        threads=how.options.cpus_per_trial,
        memory_limit_bytes=_memory_limit_bytes(how, slots),
        device=how.device,
    )


def _memory_limit_bytes(how: LaunchOptions, slots: int) -> int | None:
    """An equal share of this machine; other machines are not ours to judge."""
    if how.options.address is not None:
        return None
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    return int(_MEMORY_SHARE * total / slots)
