"""Looks at control's page in a real browser. Exit code 0 if all of it was as it should be, 1 if not.

    run.py [--fake] [--control PROGRAM --proxy PROGRAM] [--shots FOLDER] [CHECK ...]

--fake       on a made-up mesh (`fake.py`); the default where no programs are given. A CHECK narrows it.
--control, --proxy
             on Bowline's own programs, with endpoints and a load: one endpoint is killed, and the page must show it.
--shots      where screenshots go; default: target/page

Needs the package playwright, and Debian's chromium:

    python3 -m venv target/page-python && target/page-python/bin/pip install playwright
    apt-get install -y --no-install-recommends chromium
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from playwright.async_api import async_playwright

import checks
import real
from stage import CHROMIUM, Failed


async def run(arguments):
    """Runs what was asked for; returns the exit code."""
    arguments.shots.mkdir(parents=True, exist_ok=True)
    failed = []
    async with async_playwright() as playwright:
        chromium = os.environ.get("CHROMIUM", CHROMIUM)
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            if arguments.fake or arguments.control is None:
                failed += await checks.run(browser, arguments.shots, arguments.checks)
            if arguments.control is not None:
                print(f"real: {real.__doc__.strip()}", flush=True)
                try:
                    await real.run(browser, arguments.shots, arguments.control, arguments.proxy)
                except Failed as error:
                    failed.append("real")
                    print(f"  FAILED: {error}", flush=True)
        finally:
            await browser.close()
    print(f"failed: {', '.join(failed)}" if failed else "all as it should be")
    return 1 if failed else 0


def main():
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fake", action="store_true")
    parser.add_argument("--control", type=Path)
    parser.add_argument("--proxy", type=Path)
    parser.add_argument("--shots", type=Path, default=Path("target/page"))
    parser.add_argument("checks", nargs="*", choices=[[], *checks.CHECKS], metavar="CHECK")
    arguments = parser.parse_args()
    if (arguments.control is None) != (arguments.proxy is None):
        parser.error("--control and --proxy belong together")
    return asyncio.run(run(arguments))


if __name__ == "__main__":
    sys.exit(main())
