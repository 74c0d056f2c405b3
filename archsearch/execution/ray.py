"""Requests as Ray tasks, on this machine or on a running cluster; the only module that knows Ray.

Ray would re-run a crashing task four times, wait for ever on a request that no node can hold, and
listen on every interface: retries are off, resources are checked first, and a local cluster binds
to 127.0.0.1 with a token of its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

from archsearch.errors import ClusterError
from archsearch.execution.base import (
    ENVIRONMENT,
    Answer,
    Executor,
    ExecutorOptions,
    carry_out,
    received,
)
from archsearch.records import Evaluation, EvaluationRequest, Failure, FailureKind

_GRACE_SECONDS = 15.0
"""How long after a request's deadline, which the worker keeps itself, the driver steps in."""

_OBJECT_STORE_BYTES = 100 * 2**20

_CALLS_OF_A_WORKER = 500
"""Then it is replaced: a precaution, as 180 designs in one worker left nothing behind. A new one
imports torch again, which at 50 calls was most of the time of short requests.
"""


def _carry_out(function: str, request_json: str, deadline_seconds: float | None) -> tuple[str, str]:
    """Runs in the worker. The watchdog ends even a worker that is stuck in C code."""
    import faulthandler

    if deadline_seconds is not None:
        faulthandler.dump_traceback_later(deadline_seconds, exit=True)
    try:
        return carry_out(function, request_json)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _verb(options: ExecutorOptions) -> str:
    return f"joined at {options.address}" if options.address is not None else "started"


class RayExecutor(Executor):
    """See ``base.Executor``. Starts a private cluster unless an address is given."""

    def __init__(self, options: ExecutorOptions) -> None:
        self._options = options
        self._private: Path | None = None
        self._tickets = 0
        self._waiting: deque[tuple[int, EvaluationRequest]] = deque()
        self._flying: dict[Any, tuple[int, float, EvaluationRequest]] = {}
        if options.address is None:
            try:
                self._prepare_private_cluster()
            except OSError as error:
                raise ClusterError(
                    f"no folder for Ray's own files ({error}); set TMPDIR to a folder of yours"
                ) from None
        else:
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        # usage statistics would be sent over the network
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray's own warning about a variable that it means to stop setting
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        self._ray = ray
        try:
            self._init()
            self._slots = self._count_slots()
        except ClusterError:
            self.close()
            raise
        except Exception as error:
            self.close()
            tail = " ".join(str(error).split())[:400]
            raise ClusterError(
                f"Ray could not be {_verb(options)}:"
                f" {type(error).__name__}: {tail}; '--executor serial' runs without Ray"
            ) from error
        self._task = ray.remote(
            max_retries=0,
            num_cpus=options.cpus_per_trial,
            num_gpus=options.gpus_per_trial,
            max_calls=_CALLS_OF_A_WORKER,
        )(_carry_out)

    def _prepare_private_cluster(self) -> None:
        # Unix sockets allow 107 bytes of path: the folder must stay short
        home = Path(tempfile.gettempdir()) / f"archsearch-{os.getuid()}"
        home.mkdir(mode=0o700, exist_ok=True)
        found = home.lstat()
        if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
            raise ClusterError(f"{home}: belongs to another user; set TMPDIR to a folder of yours")
        # Ray opens its own folder to everybody: this one keeps them out
        home.chmod(0o700)
        self._private = Path(tempfile.mkdtemp(prefix="", dir=home))
        token = self._private / "token"
        with os.fdopen(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
        for key, value in ENVIRONMENT.items():
            os.environ.setdefault(key, value)

    def _init(self) -> None:
        common: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "configure_logging": True,
        }
        if self._private is None:
            self._ray.init(
                address=self._options.address, runtime_env={"env_vars": ENVIRONMENT}, **common
            )
            return
        workers = self._options.workers or max(
            1, (os.cpu_count() or 1) // self._options.cpus_per_trial
        )
        old_umask = os.umask(0o077)
        try:
            self._ray.init(
                num_cpus=workers * self._options.cpus_per_trial,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=str(self._private),
                **common,
            )
        finally:
            os.umask(old_umask)

    def _count_slots(self) -> int:
        """How many requests fit; an impossible one would otherwise wait for ever."""
        have = self._ray.cluster_resources()  # type: ignore[no-untyped-call]
        fit = int(have.get("CPU", 0) // self._options.cpus_per_trial)
        if self._options.gpus_per_trial > 0:
            fit = min(fit, int(have.get("GPU", 0) / self._options.gpus_per_trial))
        if fit < 1:
            cpus, gpus = self._options.cpus_per_trial, self._options.gpus_per_trial
            raise ClusterError(
                f"no room for a trial: it asks for {cpus} CPUs and {gpus:g} GPUs; the cluster has"
                f" {have.get('CPU', 0):g} and {have.get('GPU', 0):g};"
                " lower --cpus-per-trial or --gpus-per-trial"
            )
        return min(fit, self._options.workers or fit)

    @property
    def slots(self) -> int:
        return self._slots

    def submit(self, request: EvaluationRequest) -> int:
        self._tickets += 1
        self._waiting.append((self._tickets, request))
        self._send()
        return self._tickets

    def _send(self) -> None:
        # what waits for a slot waits here, where its deadline does not run
        while self._waiting and len(self._flying) < self._slots:
            ticket, request = self._waiting.popleft()
            reference = self._task.remote(
                self._options.function, request.model_dump_json(), request.deadline_seconds
            )
            self._flying[reference] = (ticket, time.monotonic(), request)

    def poll(self, timeout_seconds: float) -> list[Answer]:
        if not self._flying:
            return []
        # never without a time-out: signals and deadlines have to be seen
        ready, _ = self._ray.wait(list(self._flying), num_returns=1, timeout=timeout_seconds)
        if len(ready) == 1 and len(self._flying) > 1:
            ready, _ = self._ray.wait(list(self._flying), num_returns=len(self._flying), timeout=0)
        answers = []
        for reference in ready:
            ticket, began, request = self._flying.pop(reference)
            answers.append(Answer(ticket, self._collect(reference, began, request)))
        answers += self._overdue()
        self._send()
        return answers

    def _collect(
        self, reference: Any, began: float, request: EvaluationRequest
    ) -> Evaluation | Failure:
        errors = self._ray.exceptions
        try:
            return received(*self._ray.get(reference))
        except errors.LocalRayletDiedError as error:
            raise ClusterError(
                "this machine's Ray daemon is gone; go on with 'archsearch resume'"
            ) from error
        except errors.OutOfMemoryError as error:
            return _failure(FailureKind.LOST, "the node ran out of memory", error)
        except errors.RayTaskError as error:
            return _failure(
                FailureKind.ERROR, f"{type(error.cause).__name__}: {error.cause}", error
            )
        except errors.WorkerCrashedError as error:
            limit = request.deadline_seconds
            if limit is not None and time.monotonic() - began >= limit:
                return _failure(FailureKind.TIMEOUT, f"no end after {limit:g} s", error)
            return _failure(FailureKind.CRASHED, "the worker process ended", error)
        except errors.RayError as error:
            return _failure(FailureKind.LOST, type(error).__name__, error)

    def _overdue(self) -> list[Answer]:
        late = []
        now = time.monotonic()
        for reference, (ticket, began, request) in list(self._flying.items()):
            limit = request.deadline_seconds
            if limit is not None and now - began > limit + _GRACE_SECONDS:
                self._ray.cancel(reference, force=True)
                del self._flying[reference]
                failure = Failure(kind=FailureKind.TIMEOUT, message=f"no end after {limit:g} s")
                late.append(Answer(ticket, failure))
        return late

    def cancel(self) -> None:
        for reference in self._flying:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(reference, force=True)
        self._flying.clear()
        self._waiting.clear()

    def close(self) -> None:
        if self._ray.is_initialized():
            self.cancel()
            self._ray.shutdown()
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)


def _failure(kind: FailureKind, message: str, error: Exception) -> Failure:
    return Failure(kind=kind, message=message.splitlines()[0][:500], traceback=str(error)[-8000:])


EXECUTOR = RayExecutor
