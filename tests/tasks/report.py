"""What a run has seen: one line a check, and waiting for what is to come."""

import os
import time

# What is waited for comes within a second or so, on a machine that does nothing else.
DEADLINE = 30


class Failed(Exception):
    """What was to be seen was not."""


class Over(Failed):
    """And it will not be seen any more: there is nothing to wait for."""


class Absent(Exception):
    """This machine, or the programs under test, can't do what a case needs."""


class Report:
    """Counts and prints the checks."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.case = ""

    def line(self, word, check, seen=""):
        """Prints one line."""
        text = " ".join(str(seen).split())
        parts = [part for part in (self.case, check, text) if part]
        print(f"{word:7} {': '.join(parts)}", flush=True)

    def check(self, check, good, seen=""):
        """One check. What was seen is printed if it fails. Returns whether it was good."""
        if good:
            self.passed += 1
            self.line("ok", check)
        else:
            self.failed += 1
            self.line("FAILED", check, seen if seen != "" else repr(good))
        return bool(good)

    def failure(self, check, why):
        """A check that could not even be made."""
        self.failed += 1
        self.line("FAILED", check, why)

    def tell(self, text):
        """Something to know which is no check: above all what is not possible, and why."""
        self.line("note", text)

    def skip(self, why):
        """A case that can't be run here: a failure where everything has to be there."""
        if os.environ.get("BOWLINE_REQUIRE_INTEROP"):
            self.failure("can't be run", why)
        else:
            self.skipped += 1
            self.line("SKIPPED", "", why)

    def end(self):
        """The closing line. Returns the exit code."""
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        print(f"{self.passed} passed, {self.failed} failed{skipped}", flush=True)
        return 1 if self.failed else 0


def eventually(what, look, deadline=DEADLINE):
    """Asks until the answer is true, and returns it. `look` may raise OSError or Failed as long as it is too early."""
    end = time.monotonic() + deadline
    while True:
        try:
            seen = look()
        except Over as over:
            raise Failed(f"there will be no {what}: {over}") from over
        except (OSError, Failed, ValueError) as error:
            seen, last = None, error
        else:
            last = seen
        if seen:
            return seen
        if time.monotonic() > end:
            raise Failed(f"waited {deadline} s in vain for {what}; last seen: {last}")
        time.sleep(0.02)  # between two looks
