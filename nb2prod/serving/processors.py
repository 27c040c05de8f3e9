"""How many CPUs this process may use, and libraries of numbers that start no more threads than that.

A container sees all CPUs of its host; a library that starts a thread for each then waits for its own threads.
In a cluster Ray does the same for its workers.
"""

from __future__ import annotations

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""What tells OpenMP, OpenBLAS, MKL and numexpr how many threads to start; read when they are loaded."""


def cpus(cgroup: Path = CGROUP) -> int:
    """How many CPUs this process may use: those it is bound to, or what its cgroup's quota comes to."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(bound, math.ceil(min(bound, _quota(cgroup)))))


def fit_threads(environ: MutableMapping[str, str], count: int) -> None:
    """Let libraries that are loaded from now on start `count` threads, unless the environment says."""
    for name in THREADS:
        environ.setdefault(name, str(count))


def _quota(cgroup: Path) -> float:
    """CPUs' worth of time, by cgroups of version 2 or 1; infinite without a quota."""
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            quota, period = " ".join((cgroup / file).read_text() for file in files).split()
        except (OSError, ValueError):
            continue
        if quota.isdecimal() and int(period):
            return int(quota) / int(period)
    return math.inf
