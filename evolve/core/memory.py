"""How much memory there is."""

import os
from contextlib import suppress
from pathlib import Path

import jax

# What a container may use of the machine, where Linux keeps it: versions 2 and 1 of control groups.
_LIMITS = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")


def device_memory() -> int | None:
    """Bytes that the first device has, of a CPU those of the machine or container; None where nobody says."""
    device = jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit")
    return _machine() if limit is None and device.platform == "cpu" else limit


def _machine() -> int | None:
    known = []
    with suppress(AttributeError, ValueError, OSError):  # not on Windows, nor on every Unix
        known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in _LIMITS:
        with suppress(ValueError, OSError):  # no such file, or no limit
            known.append(int(path.read_text()))
    return min(known, default=None)
