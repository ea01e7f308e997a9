"""What ends a command early: said in a sentence, with the nearest known word, never with a Python traceback."""

import difflib
import traceback
from collections.abc import Iterable


class UsageError(Exception):
    """A command that cannot be carried out as it was given; the message says what is wrong and what is allowed."""


class RunError(Exception):
    """A run that could not be finished for a reason that lies outside the command: the message says which."""


def unknown(lacking: str, name: str, known: Iterable[str]) -> UsageError:
    """The answer to a name that does not exist: the nearest known ones, or all of them if none is near.

    `lacking` starts the sentence: "there is no optimizer", "digits has no setting".
    """
    known = sorted(known)
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    if near:
        return UsageError(f"{lacking} {name!r}; did you mean {' or '.join(near)}?")
    listed = f"known are {', '.join(known)}." if known else "there are none."
    return UsageError(f"{lacking} {name!r}; {listed}")


def blamed(error: BaseException, file: str) -> str:
    """`FILE, line N: Class: message`, N where the error last passed through the file; without both if it did not."""
    message = str(error).strip().partition("\n")[0].rstrip(".")
    sentence = f"{type(error).__name__}: {message}" if message else type(error).__name__
    line = line_of(error, file)
    return sentence if line is None else f"{file}, line {line}: {sentence}"


def exhausted(error: BaseException) -> str | None:
    """That memory ran out, in words, if it did: NumPy's or the device's."""
    message = str(error).strip().partition("\n")[0].rstrip(".")
    if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in message:  # as JAX says it; not imported for this
        return message.rpartition("RESOURCE_EXHAUSTED: ")[2]
    return (message or "out of memory") if isinstance(error, MemoryError) else None


def line_of(error: BaseException, file: str) -> int | None:
    """The last line of a file that an error passed through, if it did."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return lines[-1] if lines else None
