"""Where losses are computed: a device, a mesh of devices, or host workers."""

from evolve.backend.device import Backend, Device, Mesh
from evolve.backend.workers import Workers

__all__ = ["Backend", "Device", "Mesh", "Workers"]
