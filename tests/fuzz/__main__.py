"""Fuzz every parser for some minutes, and keep what reaches new code: make fuzz."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.fuzz.engine import FaultFoundError, Fuzzer, keep, kept_inputs
from tests.fuzz.harnesses import HARNESSES

CORPUS = Path(__file__).with_name("corpus")


def main(minutes: float) -> int:
    """Fuzz all parsers, each for an equal share of the time; return the number of faults."""
    num_faults = 0
    for harness in HARNESSES.values():
        folder = CORPUS / harness.name
        fuzzer = Fuzzer(harness, seed=time.time_ns())
        try:
            fuzzer.run(60 * minutes / len(HARNESSES), kept_inputs(folder))
        except FaultFoundError as error:
            num_faults += 1
            sys.stdout.write(f"{error}\n")
            keep(folder, [error.content])
        keep(folder, fuzzer.corpus)
        sys.stdout.write(f"{harness.name}: {fuzzer.num_runs} inputs, {len(fuzzer.corpus)} kept\n")
    return num_faults


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])) > 0)
