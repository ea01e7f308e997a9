"""What each subcommand takes. Nothing heavy is imported here: `--help` and a slip of the pen are answered at once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg
from tyro.constructors import PrimitiveConstructorSpec


def whole(text: str) -> int:
    """A whole number of at least 1; `10_000` and `1e4` are fine.

    Raises
    ------
    ValueError
        It is none; says what is allowed.
    """
    value = _float(text)
    if not 1 <= value < float("inf") or value != int(value):
        raise ValueError(f"{text!r} is not a whole number of at least 1")
    return int(value)


def number(text: str) -> float:
    """A finite number.

    Raises
    ------
    ValueError
        It is none; says what is allowed.
    """
    value = _float(text)
    if not abs(value) < float("inf"):
        raise ValueError(f"{text!r} is not a finite number")
    return value


def positive(text: str) -> float:
    """A number above 0.

    Raises
    ------
    ValueError
        It is none; says what is allowed.
    """
    value = _float(text)
    if not 0 < value < float("inf"):
        raise ValueError(f"{text!r} is not a finite number above 0")
    return value


def seed_number(text: str) -> int:
    """A whole number from 0 to 2^32 - 1.

    Raises
    ------
    ValueError
        It is none; says what is allowed.
    """
    if not text.isdecimal() or int(text) >= 2**32:
        raise ValueError(f"{text!r} is not a whole number from 0 to 4294967295")
    return int(text)


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers of at least 1, ascending, each once: `1-5,8`.

    Raises
    ------
    ValueError
        It is no such list; says what is allowed.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last if dash else first)
        if not all(end.isdecimal() for end in ends) or not 1 <= int(first) <= int(ends[1]) < 10**6:
            raise ValueError(f"{text!r} is not a list of whole numbers of at least 1, such as 1-5,8")
        found |= set(range(int(first), int(ends[1]) + 1))
    return tuple(sorted(found))


def _float(text: str) -> float:
    """NaN for what is no number: it fails every comparison."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _reader(read: Callable[[str], Any], metavar: str) -> PrimitiveConstructorSpec[Any]:
    """One word of the command line, read by a function whose ValueError says what is allowed."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: read(words[0]),
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(value)],
    )


_plain = arg(help_behavior_hint="")
Whole: TypeAlias = Annotated[int | None, _reader(whole, "N"), _plain]
Numbers: TypeAlias = Annotated[tuple[int, ...] | None, _reader(numbers, "A-B,C"), _plain]
Seconds: TypeAlias = Annotated[float | None, _reader(positive, "S"), _plain]
Target: TypeAlias = Annotated[float | None, _reader(number, "LOSS"), _plain]
Seed: TypeAlias = Annotated[int | None, _reader(seed_number, "N"), _plain]
Folder: TypeAlias = Annotated[str | None, arg(metavar="DIR", help_behavior_hint="")]
Flag: TypeAlias = Annotated[bool, FlagCreatePairsOff, _plain]
Settings: TypeAlias = Annotated[list[str], UseAppendAction, arg(metavar="KEY=VALUE", help_behavior_hint="(repeatable)")]


@dataclass(frozen=True)
class List:
    """List optimizers and problems, one line each with its source; or the settings of one of them.

    Try:
      evolve list
      evolve list cmaes
      evolve list rastrigin
    """

    name: Annotated[str | None, Positional, arg(metavar="[NAME]", help_behavior_hint="")] = None
    """an optimizer or a problem whose settings to show"""


@dataclass(frozen=True)
class Run:
    """Search one problem with one optimizer, live; everything is saved, and can be resumed bit for bit.

    Try:
      evolve run digits --optimizer openes --evaluations 50_000
      evolve run rastrigin:dimension=20,rotation=1 --optimizer cmaes --set sigma=2 --set population=100
      evolve run csv:wine.csv:target=quality,hidden=64-32 --optimizer openes
      evolve run python:fitness.py:energy:dimension=5,start=1.0,host=true --optimizer cmaes
      evolve run examples/rastrigin.toml --evaluations 5000
      evolve run --resume runs/digits-openes --evaluations 100_000

    PROBLEM is a name of `evolve list`, with settings after a colon: NAME:KEY=VALUE,KEY=VALUE. Of your own:
      csv:FILE, npz:FILE, idx:IMAGES,LABELS     examples, learned by a perceptron
      python:FILE.py:NAME, PACKAGE.MODULE:NAME  a Problem, a function that makes one, or a plain function of
                                                parameters with dimension=... and start=...

    JOB.toml holds the tables [problem] name = ..., [optimizer] name = ..., each with its settings, [budget]
    evaluations, seconds, generations, target, and [run] seed, seeds, x64, out, save_seconds. Options given here win.

    VALUES of settings:
      number, choice        0.05   64   true   none   tournament
      schedule              cosine:0.1:0.01:1000 (from, to, generations), also linear, exponential;
                            power:0.1:1:0.602 (first, offset, exponent)
      perturbation          gaussian, rademacher, lowrank:RANK[:LAW], sparse:FRACTION[:INNER],
                            antithetic[:INNER], such as antithetic:lowrank:1:rademacher
      shaping               centered_ranks, z_score, difference, elite:FRACTION
      update                sgd:RATE, adam:RATE, adamw:RATE, rmsprop:RATE, lion:RATE
      widths                64-32

    Optimizers were tuned for digits as it stands: settings that are not given are then the tuned ones. Their schedules
    end with the evaluations or generations of the budget; without either (seconds or a target alone) rates stay
    constant, at what the schedules begin with. A resumed run keeps the schedules that it began with.

    Exit status: 0 ok, 1 the run failed, 2 misuse, 130 Ctrl-C (what there is was saved).
    """

    problem: Annotated[str | None, Positional, arg(metavar="[PROBLEM|JOB.toml]", help_behavior_hint="")] = None
    """what to search"""
    optimizer: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """how; a name of `evolve list`"""
    set: Settings = field(default_factory=list[str])
    """a setting of the optimizer, see `evolve list NAME`"""
    evaluations: Whole = None
    """budget in forward passes (a gradient counts three); 10,000 if no budget is given"""
    seconds: Seconds = None
    """budget in seconds, compiling left out"""
    generations: Whole = None
    """budget in generations"""
    target: Target = None
    """stop at this loss"""
    seed: Seed = None
    """decides everything that is drawn; 0 by default"""
    seeds: Whole = None
    """run so many seeds at once, from --seed on"""
    x64: Flag = False
    """compute in double precision"""
    out: Folder = None
    """a new folder for configuration, history, checkpoints and answer; runs/PROBLEM-OPTIMIZER by default"""
    save_seconds: Seconds = None
    """at least this long between two checkpoints; 5 by default"""
    resume: Folder = None
    """go on with the run in this folder; only budgets may change (those given now replace all that it had) and
    --save-seconds: what else is said must be as it was"""
    quiet: Flag = False
    """no progress and no summary"""


@dataclass(frozen=True)
class Compare:
    """Compare optimizers on one problem or on the suite bbob: same starts, same data order, same budget, several seeds.

    Writes results.json, a self-contained report.html and PNG curves. Where a problem has settings that were
    tuned for each optimizer (digits), these are used, their schedules ending with the evaluations or generations (with
    seconds alone, rates stay constant); elsewhere the defaults.

    `bbob` alone is COCO's suite, in double precision: every optimizer runs once on each instance of each function. It
    writes runtime profiles, expected running times (also as ert.csv), and, into coco/, files for COCO's own cocopp.
    `bbob:function=8,dimension=5` is one problem.

    Try:
      evolve compare digits
      evolve compare bbob --dimension 5
      evolve compare rosenbrock:dimension=20 --optimizers cmaes,sepcmaes,openes --evaluations 20_000 --seeds 5
    """

    problem: Annotated[str, Positional, arg(metavar="PROBLEM")]
    """as in `evolve run`"""
    optimizers: Annotated[str | None, arg(metavar="A,B,C", help_behavior_hint="")] = None
    """names of `evolve list`; all that suit the problem by default"""
    seeds: Whole = None
    """how many seeds each; 3 by default"""
    seed: Seed = None
    """the first seed; 0 by default"""
    evaluations: Whole = None
    """budget of each run in forward passes (a gradient counts three)"""
    seconds: Seconds = None
    """budget of each optimizer in seconds, all its seeds together, compiling left out"""
    generations: Whole = None
    """budget of each run in generations"""
    x64: Flag = False
    """compute in double precision"""
    smallest: Flag = False
    """the smallest budget that makes sense, for a quick look"""
    dimension: Whole = None
    """of the suite bbob: the number of coordinates, at least 2; 10 by default"""
    functions: Numbers = None
    """of the suite bbob: which of its functions, 1 to 24; all by default"""
    instances: Numbers = None
    """of the suite bbob: which instances of each function; 1-5 by default"""
    budget: Whole = None
    """of the suite bbob: forward passes of each run, in multiples of the dimension; 2,000 by default"""
    out: Folder = None
    """a new folder for the results; runs/compare-PROBLEM by default"""
    quiet: Flag = False
    """no progress and no table"""


@dataclass(frozen=True)
class Report:
    """Show what a run or a comparison found, and write a comparison's report and curves anew.

    Try:
      evolve report runs/compare-digits
      evolve report runs/digits-openes
    """

    directory: Annotated[str, Positional, arg(metavar="DIR")]
    """the folder of a run or of a comparison"""


def given(command: Any, name: str) -> bool:
    """Whether an option was said at all; 0 is a value."""
    value = getattr(command, name, None)
    return value is not None and value is not False and value != []


Command: TypeAlias = List | Run | Compare | Report
COMMANDS: dict[str, type[Any]] = {"list": List, "run": Run, "compare": Compare, "report": Report}
