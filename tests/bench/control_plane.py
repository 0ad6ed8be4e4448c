"""One case of the control plane's bench: a mesh, a control plane, a load, and what came of it."""

import datetime
import json
import os
import platform
import subprocess
import urllib.request
from pathlib import Path

from measure import cpu_ns, waited_ns
from ports import free_port, wait_for
from procs import StartError

NAMESPACE = "bench.local"
ENDPOINTS = 10
# Every 20th service registers its endpoints; the others' are static. A control plane takes 1,000 registrations from one
# address at most, and all of the load's come from one.
EVERY = 20
MOST_REGISTERED = 950
# Name of the case -> services that each stream wants; 0: all.
EACH = {"namespace": 0, "ten": 10}
SINGLE_EVERY_MS = 200
FLOOD_PER_MINUTE = 10_000


def title(name):
    """What each stream wants, in words."""
    return f"{EACH[name]} services" if EACH[name] else "the whole namespace"


def mesh(services):
    """A mesh of so many services, as plain data; JSON is a mesh file too."""
    registered = min(services // EVERY, MOST_REGISTERED // ENDPOINTS)

    def service(number):
        # Not in 10.128.0.0/9: those addresses are the load's marks.
        static = [{"address": f"10.{number >> 8}.{number & 255}.{n + 1}:9001"} for n in range(ENDPOINTS)]
        name = f"service-{number:04}"
        return {"discoveryName": name, "clientAliases": [{"dnsName": f"{name}.{NAMESPACE}", "port": 5000}],
                "endpoints": {"registered": {}} if number % EVERY == 0 and number // EVERY < registered
                else {"static": static}}

    return {"namespace": NAMESPACE, "services": [service(number) for number in range(services)]}


def start_control(pack, program, mesh_file, cpus, name="control"):
    """Starts a control plane on free ports; returns (process, URL, admin address)."""
    listen, admin = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    # It must not look for AWS over the network; what is started by the pack has this process's environment.
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    proc = pack.start(name, [program, "serve", "--mesh", mesh_file, "--listen", listen, "--admin", admin], cpus)

    def ready():
        try:
            with urllib.request.urlopen(f"http://{admin}/health/ready", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    if not wait_for(lambda: not proc.alive() or ready(), 30) or not proc.alive():
        raise StartError(f"bowline-control did not become ready:\n{proc.last_words()}")
    return proc, f"http://{listen}", admin


def measure_case(pack, programs, options, name):
    """All phases of one case; returns the load's figures, with those of the control plane in them."""
    control, load = programs
    mesh_file = pack.workdir / "mesh.json"
    mesh_file.write_text(json.dumps(mesh(options.services)))
    proc, url, _ = start_control(pack, control, mesh_file, {options.control_cpu}, f"control-{name}")
    phases = ["--phase", f"{options.changes},{SINGLE_EVERY_MS}"]
    flood = FLOOD_PER_MINUTE * options.flood_seconds // 60
    if flood:
        phases += ["--phase", f"{flood},{60_000 / FLOOD_PER_MINUTE}"]
    waited, cpu = sum(waited_ns(proc.pid).values()), cpu_ns(proc.pid)
    out = pack.run(f"load-{name}", [
        load, "subscribers", "--control", url, "--mesh", mesh_file, "--pid", proc.pid, "--streams", options.streams,
        "--streams-per-connection", options.streams_per_connection, "--services-each", EACH[name], *phases,
    ], {options.load_cpu}, 300 + options.changes + 3 * options.flood_seconds)
    result = json.loads(out)
    # Of the time that it wanted its core, how much other work had it.
    wanted = cpu_ns(proc.pid) - cpu
    waited = sum(waited_ns(proc.pid).values()) - waited
    result["waitedShare"] = waited / max(1, waited + wanted)
    pack.stop(proc)
    return result


def machine(options, programs):
    """What must be known about machine and run to compare two reports."""
    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), "unknown CPU")
    version = subprocess.run([str(programs[0]), "--version"], capture_output=True, text=True, check=False).stdout.split()
    return {"date": datetime.date.today().isoformat(), "cpu": cpu, "cpus": os.cpu_count(), "kernel": platform.release(),
            "control_cpu": options.control_cpu, "load_cpu": options.load_cpu, "services": options.services,
            "streams": options.streams, "version": version[-1] if version else "?"}
