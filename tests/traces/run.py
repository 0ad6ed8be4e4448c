#!/usr/bin/env python3
"""Looks at Bowline's traces from outside: a strict OTLP receiver, real endpoints, apps with OpenTelemetry's SDK, curl.

One line a check is printed. README.md beside this file says what is strict about it, and what each case is.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent
PACKAGES = ("grpc", "opentelemetry.sdk", "opentelemetry.proto", "opentelemetry.semconv", "websockets", "h2")
EXAMPLES = """\
examples:
  tests/traces/run.py --proxy target/debug/bowline-proxy
  tests/traces/run.py --proxy ... retry killed        two cases
  tests/traces/run.py --proxy ... --keep retry        keep the logs of all programs, and say where

Exit code: 0 all passed, 1 one failed, 2 wrong usage or something is not installed.
"""


def with_packages():
    """Becomes the Python that has the packages, where this one lacks them."""
    from importlib.util import find_spec

    def has(name):
        try:
            return find_spec(name) is not None
        except ModuleNotFoundError:
            return False

    lacking = [name for name in PACKAGES if not has(name)]
    other = Path(os.environ.get("BOWLINE_TEST_PYTHON", REPO / "target/python/bin/python3"))
    if not lacking:
        return
    if other.is_file() and "BOWLINE_TRACES_PYTHON" not in os.environ:
        os.environ["BOWLINE_TRACES_PYTHON"] = "1"
        os.execv(other, [str(other), *sys.argv])
    print(f"tests/traces: no Python with {', '.join(lacking)}: tests/run makes one in target/python, and "
          "BOWLINE_TEST_PYTHON names another", file=sys.stderr)
    sys.exit(2)


def parse(argv, names):
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests/traces/run.py", description=__doc__ + f"\ncases: {', '.join(names)}",
                                     epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proxy", metavar="PATH", type=Path, required=True, help="the program bowline-proxy")
    parser.add_argument("--seed", type=int, metavar="N", help="where ids start (default: a new one, printed)")
    parser.add_argument("--keep", action="store_true", help="keep logs and configuration, and say where")
    parser.add_argument("case", nargs="*", help="default: all")
    options = parser.parse_args(argv)
    if unknown := [name for name in options.case if name not in names]:
        parser.error(f"no case named {', '.join(unknown)}; there are {', '.join(names)}")
    options.case = options.case or list(names)
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    return options


def main():
    """Runs the cases; returns the exit code."""
    with_packages()
    import cases
    import world
    from report import Report

    options = parse(sys.argv[1:], cases.ALL)
    if not options.proxy.is_file() or not (shutil.which("curl") and shutil.which("setpriv")):
        print(f"tests/traces: there is no {options.proxy}, no curl or no setpriv", file=sys.stderr)
        return 2

    def stop(number, _):
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    print(f"seed {options.seed}", flush=True)
    report = Report()
    folder = Path(tempfile.mkdtemp(prefix="bowline-traces-"))
    try:
        for name in options.case:
            report.case = name
            inside = folder / name
            inside.mkdir(exist_ok=True)
            # Of each case its own, so that one alone gets the same ids as among the others.
            stage = world.World(report, options.proxy.resolve(), inside, random.Random(f"{options.seed} {name}"))
            try:
                cases.ALL[name](stage)
            except world.Failed as failed:
                report.failure("", failed)
            except Exception as error:  # a broken case must not take the others with it
                report.failure("the case itself", f"{error!r} {traceback.format_exc()}")
            finally:
                stage.close()
    except KeyboardInterrupt:
        print("interrupted; everything this run started has been ended", file=sys.stderr)
        return 130
    finally:
        if options.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    report.case = ""
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
