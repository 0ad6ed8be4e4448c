"""The run itself, in a process namespace of its own; `run` starts it."""

import argparse
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

from cases import CASES
from report import Absent, Failed
from stage import Stage


def mounts_stay_inside(folder):
    """Whether what is mounted here is not seen outside. In a chroot nothing can be made private, so it is tried: a mount
    under a shared one is shared itself, with all that see that one."""
    probe = folder / "probe"
    probe.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "probe", probe], check=True)
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        lines = [line for line in mounts if f" {probe} " in line]
    subprocess.run(["umount", probe], check=True)
    return len(lines) == 1 and " shared:" not in lines[0]


def main():
    """Runs the cases, one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--propagation", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("case", nargs="+")
    options = parser.parse_args()
    if os.getpid() != 1:
        parser.error("start tests/tasks/run instead: what is started here must end with it")
    if not mounts_stay_inside(options.folder):
        print("tests/tasks: mounts made here would be seen by all of this machine; run it from where they are private: "
              "unshare --mount tests/tasks/run ...", file=sys.stderr)
        return 2
    print(f"seed: {options.seed}", flush=True)
    stage = Stage(options.folder, options.propagation, options.seed, sys.executable)
    for name in options.case:
        needs, play = CASES[name]
        stage.report.case = name
        begun = time.monotonic()
        if missing := stage.features.missing(needs):
            stage.report.skip("; ".join(missing))
            continue
        try:
            stage.begin(name)
            play(stage)
        except Absent as absent:
            stage.report.skip(str(absent))
        except Failed as failed:
            stage.report.failure("went no further", failed)
        except Exception:  # whatever it is, the other cases are run
            stage.report.failure("broke", traceback.format_exc())
        finally:
            stage.end()
        print(f"        {name}: {time.monotonic() - begun:.1f} s", flush=True)
    return stage.report.end()


if __name__ == "__main__":
    sys.exit(main())
