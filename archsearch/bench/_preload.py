"""What a run needs, imported once, in the process from which all of a bench's runs are forked."""

from __future__ import annotations

import signal

# the first optimizer of a process imports it, for 1.8 CPU seconds of its own
import torch._dynamo  # noqa: F401

import archsearch.evaluate  # noqa: F401
from archsearch.mixers import modules, specs

for _name in specs:
    specs.get(_name)
    modules.get(_name)

# Ctrl-C reaches the whole group, and is the bench's to answer. What is forked takes over what was
# set here, before it has read its task: a process that is only beginning leaves no traceback.
signal.signal(signal.SIGINT, signal.SIG_IGN)
