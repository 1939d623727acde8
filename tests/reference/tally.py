"""Counts facts that held or did not, and ends a test script with one line that a harness can read."""
from __future__ import annotations

import sys
import time


class Tally:
    """Prints one line for each fact as it is known; failures carry what was seen and what was expected."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0
        self._begin = time.monotonic()

    def record(self, name: str, complaints: list[str], note: str = "") -> bool:
        if complaints:
            self.failed += 1
            print(f"FAIL {name}", flush=True)
            for complaint in complaints:
                print(f"     {complaint}", flush=True)
            return False
        self.passed += 1
        print(f"ok   {name}{': ' + note if note else ''}", flush=True)
        return True

    def skip(self, name: str, reason: str) -> None:
        self.skipped += 1
        print(f"skip {name}: {reason}", flush=True)

    def finish(self) -> int:
        """Prints the closing line; returns the exit status."""
        print(f"took {time.monotonic() - self._begin:.1f} s", file=sys.stderr)
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
        return 0 if self.failed == 0 else 1
