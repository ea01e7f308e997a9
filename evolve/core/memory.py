"""How much memory there is."""

import os

import jax


def device_memory() -> int | None:
    """Bytes that the first device has, of a CPU the machine; None where neither says."""
    device = jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit is None and device.platform == "cpu":
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):  # not on Windows, nor on every Unix
            return None
    return limit
