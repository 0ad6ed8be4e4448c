"""All checks of the page on a made-up mesh, and running them."""

import check_looks
import check_works
from stage import Failed

CHECKS = {
    name.removeprefix("check_"): check
    for module in (check_works, check_looks)
    for name, check in vars(module).items()
    if name.startswith("check_")
}


async def run(browser, shots, names):
    """Runs these checks, or all; returns the names of those that failed."""
    failed = []
    for name in names or CHECKS:
        print(f"{name}: {CHECKS[name].__doc__.strip()}", flush=True)
        try:
            await CHECKS[name](browser, shots)
        except Failed as error:
            failed.append(name)
            print(f"  FAILED: {error}", flush=True)
    return failed
