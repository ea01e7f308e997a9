"""A lock on a run's folder: two processes that write one history destroy it."""

import contextlib
import io
import os
import weakref
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_HELD: "weakref.WeakSet[Lock]" = weakref.WeakSet()


class Lock:
    """A file in the folder, held from `take` until `release`; a process that dies lets go by itself.

    Where the system or the file system knows no locks, nothing is locked.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self.file: io.FileIO | None = None

    def take(self) -> None:
        """Hold it; the folder must be there.

        Raises
        ------
        BlockingIOError
            A process, this one perhaps, holds it: the message names the folder and the process.
        OSError
            The folder cannot be written.
        """
        while fcntl is not None:
            file = io.FileIO(self.path, "a+")  # "a": what the holder wrote must stay to be read
            if not self._locks(file):
                file.close()
                return
            if self._is_there(file):
                self.file = file
                self._sign(file)
                _HELD.add(self)
                return
            file.close()  # the holder before removed the file between our opening and our locking it

    def release(self) -> None:
        """Let others have the folder."""
        if self.file is None:
            return
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)  # while it is held: afterwards it could be another's
        self.abandon()

    def abandon(self) -> None:
        """Close the file and leave it there, as a forked process must: the lock is its parent's."""
        if self.file is not None:
            self.file.close()
            self.file = None
        _HELD.discard(self)

    def _locks(self, file: io.FileIO) -> bool:
        """Lock the file; False where there are no locks."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # pyright: ignore[reportOptionalMemberAccess]
        except BlockingIOError:
            with file:
                file.seek(0)
                holder = file.read(20).decode(errors="replace").strip()
            who = f"process {holder}" if holder else "another process"
            cure = "wait until its run ends, or choose another folder"
            raise BlockingIOError(f"{self.path.parent} is in use by {who}; {cure}.") from None
        except OSError:
            return False
        return True

    def _is_there(self, file: io.FileIO) -> bool:
        """Whether the path still leads to the file."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _sign(self, file: io.FileIO) -> None:
        """Say who holds it; a full disk hinders nobody from holding it."""
        with contextlib.suppress(OSError):
            file.truncate(0)
            file.write(str(os.getpid()).encode())


def _let_go() -> None:
    """In a forked process: a pool's worker that outlives a killed run must not hold its folder."""
    for lock in list(_HELD):
        lock.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
