"""`make test-input`: bad inputs, and good ones, given to the commands as a user would.

Each trial runs in a process of its own, in an empty folder. It has to end within 20 s of CPU, a
minute on the clock, 1.5 GB of memory and 200 MB of temporary files, and either in one line of error
that names what is at fault, or in an accepted dataset whose image is right. A good one gives no
warning. Nothing may be left behind: no half result, no temporary file, no process.
"""

import argparse
import json
import os
import random
import re
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from inputs.process import Outcome, make_base, run, warm_up
from inputs.trial import KINDS, Kind


def long_form(count: int, first: int, only: str) -> Iterator[tuple[Kind, int]]:
    """Yield kinds and seeds: each kind once, and then by weight."""
    chosen = [entry for name, entry in KINDS.items() if re.search(only, name)]
    yield from ((entry, first) for entry in chosen)
    chance = random.Random(first)
    seeds: Counter[str] = Counter()
    for _ in range(count - len(chosen)):
        entry = chance.choices(chosen, [entry.weight for entry in chosen])[0]
        seeds[entry.name] += 1
        yield entry, first + seeds[entry.name]


def short_form() -> Iterator[tuple[Kind, int]]:
    """Yield one kind of each group, which its name begins with."""
    groups: dict[str, list[Kind]] = {}
    for name, entry in KINDS.items():
        groups.setdefault(name.partition(":")[0], []).append(entry)
    for name, members in groups.items():
        yield random.Random(name).choice(members), 0


def run_all(
    trials: list[tuple[Kind, int]], jobs: int, show: Callable[[Outcome], None]
) -> list[Outcome]:
    """Run trials, several side by side: many only wait."""
    with tempfile.TemporaryDirectory(prefix="kronufft-inputs-") as name:
        base = Path(name) / "base"
        base.mkdir()
        if any(entry.base for entry, _ in trials):
            make_base(base)
        workers = []
        for worker in range(jobs):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    with (Path(name) / f"{worker}.json").open("w") as file:
                        for entry, seed in trials[worker::jobs]:
                            outcome = run(entry, seed, base)
                            show(outcome)
                            file.write(json.dumps(asdict(outcome)) + "\n")
                    status = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    sys.stdout.flush()
                    os._exit(status)
            workers.append(pid)
        if max(os.waitpid(pid, 0)[1] for pid in workers):
            raise RuntimeError("a worker failed; see above")
        lines = [
            line
            for worker in range(jobs)
            for line in (Path(name) / f"{worker}.json").read_text().splitlines()
        ]
    return [Outcome(**json.loads(line)) for line in lines]


def main() -> None:
    """Run trials, print those that fail, and count."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds whose names match this")
    parser.add_argument("--short", action="store_true", help="one kind of each group")
    parser.add_argument("--lines", action="store_true", help="also print what was refused, and how")
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write all outcomes here")
    told = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # names may hold what no terminal shows
    warm_up()

    def show(outcome: Outcome) -> None:
        if outcome.fault or told.lines:
            mark = "FAILED" if outcome.fault else "      "
            sys.stdout.write(
                f"{mark} {outcome.kind} ({outcome.seed}): {outcome.fault} {outcome.where} "
                f"[{outcome.about[:150]}] {outcome.line[:400]}\n"
            )
            sys.stdout.flush()

    trials = [*(short_form() if told.short else long_form(told.trials, told.seed, told.only))]
    outcomes = run_all(trials, told.jobs, show)
    if told.json:
        told.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes]))
    sys.exit(account(outcomes))


def account(outcomes: list[Outcome]) -> str | int:
    """Print counts; return what is wrong, or 0."""
    faults = [outcome for outcome in outcomes if outcome.fault]
    failed = sorted({f"{o.kind}: {o.fault}" for o in faults})
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    refused = sum(not outcome.fault and bool(outcome.line) for outcome in outcomes)
    sys.stdout.write(
        f"{len(outcomes)} trials of {len({o.kind for o in outcomes})} kinds: {refused} refused in "
        f"one line, {len(outcomes) - refused - len(faults)} accepted, {len(faults)} failed (of "
        f"{len({o.kind for o in faults})} kinds)\n"
        f"slowest: {slowest.seconds:.1f} s, {slowest.kind}; most memory: "
        f"{max(outcome.memory for outcome in outcomes) / 1e6:.0f} MB\n"
    )
    counts = Counter(outcome.fault.partition(":")[0] for outcome in faults)
    sys.stdout.writelines(f"  {count:4} {fault}\n" for fault, count in counts.most_common())
    return f"failed: {'; '.join(failed)}" if failed else 0


if __name__ == "__main__":
    main()
