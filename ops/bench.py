"""make bench: how fast, how steady, how big. Runs the parts, prints one table with budgets and writes bench.json.

    python -m ops.bench                                  all parts but the soak
    python -m ops.bench --only live browser              some of them; the others' figures in bench.json stay
    python -m ops.bench --only soak --minutes 10
    python -m ops.bench --markdown                       bench.json as Markdown; measures nothing

A part that cannot be measured says why and the next one follows. Budgets are for two processor cores.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ops.figures import COLUMNS, WIDTHS, Failure, Figure, Part, Report, line, markdown
from ops.processes import busy_cores
from stream.config import ServerConfig

TRAINED = ServerConfig().loader


def parts(minutes: float) -> dict[str, Callable[[str, str], Iterator[Figure]]]:
    """By name, in the order in which they run. Imported here: --help and --markdown need none of it."""
    from ops import bench_blocks, bench_browser, bench_cache, bench_live, bench_model, bench_trouble

    return {
        "generation": bench_model.generation,
        "cache": bench_cache.cache,
        "blocks": bench_blocks.blocks,
        "startup": bench_live.startup,
        "live": bench_live.live,
        "barge-in": bench_trouble.barge_in,
        "crash": bench_trouble.crash,
        "browser": bench_browser.browser,
        "soak": lambda loader, preset: bench_browser.soak(loader, preset, minutes),
    }


NAMES = ("generation", "cache", "blocks", "startup", "live", "barge-in", "crash", "browser", "soak")
NOT_UNLESS_ASKED = {"soak"}


def measure(name: str, run: Callable[[str, str], Iterator[Figure]], loader: str, preset: str, command: str) -> Part:
    """One part, its figures printed as they come."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    print(f"\n{name}", flush=True)
    others_cores = round(min(busy_cores(), busy_cores()), 1)  # twice: the part before may still be ending its processes
    figures, failure = [], None
    try:
        for figure in run(loader, preset):
            figures.append(figure)
            print(line(figure.row), flush=True)
    except Exception as error:  # whatever it is, the other parts are still worth measuring
        failure = Failure(f"{error}" or type(error).__name__)
        print(f"not measured: {failure.why}", flush=True)
    part = Part(command, now, tuple(figures), failure, others_cores)
    if part.disturbed:
        print(part.disturbed, flush=True)
    return part


def read(path: Path) -> Report | None:
    """What an earlier run wrote; None where there is nothing that can be used."""
    try:
        return Report.from_json(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m ops.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help="of " + ", ".join(NAMES))
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the soak (%(default)g)")
    parser.add_argument("--preset", default="embedded", help="which model (%(default)s)")
    parser.add_argument("--loader", default=TRAINED, help=argparse.SUPPRESS)  # a stand-in for the model
    parser.add_argument("--out", type=Path, default=Path("bench.json"), help="where figures are kept (%(default)s)")
    parser.add_argument("--markdown", action="store_true", help="print what --out holds as Markdown, measure nothing")
    chosen = parser.parse_args()

    earlier = read(chosen.out)
    if chosen.markdown:
        if earlier is None:
            print(f"{chosen.out} holds no figures yet: run python -m ops.bench first", file=sys.stderr)
            return 1
        print(markdown(earlier))
        return 0

    from ops.machine import describe

    machine = describe(chosen.preset, chosen.loader, TRAINED)
    print("; ".join(f"{name}: {value}" for name, value in machine.items()))
    print("\n" + line(COLUMNS) + "\n" + "-" * sum(WIDTHS), flush=True)
    found: dict[str, Part] = {}
    runs = parts(chosen.minutes)
    for name in chosen.only or [name for name in NAMES if name not in NOT_UNLESS_ASKED]:
        command = f"python -m ops.bench --only {name}" + (f" --minutes {chosen.minutes:g}" if name == "soak" else "")
        found[name] = measure(name, runs[name], chosen.loader, chosen.preset, command)
        report = Report(machine, found)
        report = (earlier.joined(report) if earlier else report).in_order(NAMES)
        chosen.out.write_text(json.dumps(report.to_json(), indent=2) + "\n")  # a run cut off keeps what it has
    missed = sum(figure.verdict == "MISSED" for part in found.values() for figure in part.figures)
    failed = [name for name, part in found.items() if part.failure]
    print(f"\n{chosen.out}: {missed} budgets missed" + (f"; not measured: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
