#!/usr/bin/env python3
"""Tries every example in docs/settings: what the row says can be seen from outside, with the real proxy and real endpoints.

One line a row is printed. README.md beside this file says how rows, examples and tests belong together.
"""

import argparse
import fnmatch
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent
PACKAGES = ("yaml", "grpc", "cryptography", "websockets")
EXAMPLES = """\
examples:
  tests/settings/run.py --proxy target/debug/bowline-proxy --bowline target/debug/bowline
  tests/settings/run.py ... --only 'nginx-*'          what is on one page
  tests/settings/run.py ... --only '*retr*' --keep    keep the mesh files and logs, and say where
  tests/settings/run.py ... --check                   only whether pages, examples and tests belong together

Exit code: 0 all passed, 1 one failed, 2 wrong usage or something is not installed.
"""


def with_packages():
    """Becomes the Python that has the packages, where this one lacks them."""
    from importlib.util import find_spec

    lacking = [name for name in PACKAGES if find_spec(name) is None]
    if not lacking:
        return
    other = Path(os.environ.get("BOWLINE_TEST_PYTHON", REPO / "target/python/bin/python3"))
    if other.is_file() and "BOWLINE_SETTINGS_PYTHON" not in os.environ:
        os.environ["BOWLINE_SETTINGS_PYTHON"] = "1"
        os.execv(other, [str(other), *sys.argv])
    print(f"tests/settings: no Python with {', '.join(lacking)}: tests/run makes one in target/python, and "
          "BOWLINE_TEST_PYTHON names another", file=sys.stderr)
    sys.exit(2)


def parse(argv):
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests/settings/run.py", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proxy", metavar="PATH", type=Path, required=True, help="the program bowline-proxy")
    parser.add_argument("--bowline", metavar="PATH", type=Path, required=True, help="the program bowline")
    parser.add_argument("--only", metavar="PATTERN", action="append", help="rows whose id fits, e.g. 'nginx-*'")
    parser.add_argument("--jobs", type=int, default=6, metavar="N", help="rows at a time; most of them wait (default 6)")
    parser.add_argument("--seed", type=int, metavar="N", help="where chance begins (default: a new one, printed)")
    parser.add_argument("--keep", action="store_true", help="keep logs and mesh files, and say where")
    parser.add_argument("--blank", action="store_true", help="the proxy gets the examples' services without any policy: "
                        "tests that pass all the same say nothing of their setting, or it is the default")
    parser.add_argument("--check", action="store_true", help="no proxy: only the pages, examples and tests")
    options = parser.parse_args(argv)
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    return options


class Run:
    """All rows, and what became of them."""

    def __init__(self, options, folder, farm):
        self.options = options
        self.folder = folder
        self.farm = farm
        self.passed, self.failed = [], []
        self.lock = threading.Lock()

    def line(self, good, what, seen="", seconds=None):
        """Prints one line, and counts it."""
        took = f" ({seconds:.1f} s)" if seconds is not None else ""
        text = " ".join(str(seen).split())
        with self.lock:
            (self.passed if good else self.failed).append(what)
            print(f"{'ok' if good else 'FAILED':7} {what}{took}{': ' + text if text else ''}", flush=True)

    def belong(self, pages, tests):
        """Each row has a test, each test a row, and the pages are well made."""
        rows = [row for page in pages.values() for row in page.rows]
        wrong = [f"docs/settings/{page.name}.md: {one}" for page in pages.values() for one in page.wrong]
        wrong += [f"row {row} has no test" for row in rows if row not in tests]
        wrong += [f"test {row} has no row" for row in tests if row not in rows]
        self.line(not wrong, f"{len(rows)} rows in {len(pages)} pages have a test each, and each test has a row",
                  "; ".join(wrong))

    def named(self):
        """What tests/README.md names is there."""
        table = (REPO / "tests/README.md").read_text()
        names = re.findall(r"`([\w./-]+\.(?:rs|py))(?:::(\w+))?`", table)
        wrong = []
        for path, name in names:
            file = REPO / path
            if not file.is_file():
                wrong.append(f"{path} is not there")
            elif name and not re.search(rf"\b(fn|def) {name}\b", file.read_text()):
                wrong.append(f"{path} has no {name}")
        self.line(names and not wrong, f"tests/README.md names {len(names)} tests, and they are there", "; ".join(wrong))

    def checks(self, row, example):
        """`bowline check` takes the example; returns whether it does."""
        import pages

        mesh = self.folder / f"{row}.check.json"
        try:
            mesh.write_text(json.dumps(pages.whole(example)))
        except Exception as error:
            return f"the example can't be read: {error}"
        done = subprocess.run([self.options.bowline, "check", mesh], capture_output=True, text=True, timeout=60)
        return None if done.returncode == 0 else f"bowline check: {done.stderr.strip()}"

    def row(self, row, example, test):
        """One row's test."""
        import world

        began = time.monotonic()
        if refused := self.checks(row, example):
            self.line(False, row, refused)
            return
        if self.options.check:
            self.line(True, row)
            return
        inside = self.folder / row
        inside.mkdir()
        case = world.Case(row, example, self.options, self.farm, inside, self.options.seed)
        try:
            test(case)
            self.line(True, row, seconds=time.monotonic() - began)
        except world.Failed as failed:
            self.line(False, row, failed, time.monotonic() - began)
        except Exception as error:  # a broken test must not take the others with it
            where = traceback.extract_tb(error.__traceback__)[-3:]
            places = " < ".join(f"{Path(one.filename).name}:{one.lineno}" for one in reversed(where))
            self.line(False, row, f"{error!r} at {places}", time.monotonic() - began)
        finally:
            case.close()


def main():
    """Runs the rows; returns the exit code."""
    with_packages()
    import backends
    import pages as docs
    import rows

    options = parse(sys.argv[1:])
    options.proxy, options.bowline = options.proxy.resolve(), options.bowline.resolve()
    if lacking := [str(one) for one in (options.proxy, options.bowline) if not one.is_file()]:
        print(f"tests/settings: there is no {', no '.join(lacking)}", file=sys.stderr)
        return 2
    if not shutil.which("setpriv"):
        print("tests/settings: there is no setpriv (util-linux)", file=sys.stderr)
        return 2

    def stop(number, _):
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    print(f"seed {options.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="bowline-settings-"))
    began = time.monotonic()
    try:
        farm = backends.Farm()
        run = Run(options, folder, farm)
        pages = docs.read_all()
        run.belong(pages, rows.ALL)
        run.named()
        wanted = [(row, page.examples[row][1], rows.ALL[row]) for page in pages.values() for row in page.rows
                  if row in page.examples and row in rows.ALL
                  and (not options.only or any(fnmatch.fnmatch(row, one) for one in options.only))]
        # Those that wait for long begin first, so that the end is not one row alone.
        wanted.sort(key=lambda one: -getattr(one[2], "seconds", 0))
        if not wanted and options.only:
            print(f"tests/settings: no row fits {' or '.join(options.only)}", file=sys.stderr)
            return 2
        pool = ThreadPoolExecutor(max_workers=options.jobs)
        try:
            for done in [pool.submit(run.row, *one) for one in wanted]:
                done.result()
        finally:
            # Nothing is left where all went well; else what has begun ends, and no more begins.
            pool.shutdown(cancel_futures=True)
        farm.end()
    except KeyboardInterrupt:
        print("interrupted; everything this run started has been ended", file=sys.stderr)
        return 130
    finally:
        if options.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    none = sum(page.without for page in pages.values())
    elsewhere = sum(page.elsewhere for page in pages.values())
    print(f"{len(run.passed)} passed, {len(run.failed)} failed in {time.monotonic() - began:.0f} s "
          f"({len(wanted)} rows tried; {none} more rows say \"none\", {elsewhere} lead elsewhere)", flush=True)
    if run.failed:
        print("failed: " + ", ".join(run.failed), flush=True)
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
