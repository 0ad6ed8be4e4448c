"""1,000 endpoint flaps a second on a real control plane with three real proxies: everything stays bounded, and right."""

import json
import os
import time
import urllib.request
from pathlib import Path

import measure
from control_plane import start_control
from field import SoakError
from light_load import LightLoad
from outcome import Outcome, table
from ports import free_port, wait_for
from procs import StartError

NAME = "flaps"
TITLE = "endpoints that come and go, 1,000 times a second"
PER_SECOND = 1000
SERVICES, ENDPOINTS = 20, 400
RATE = 200
# Three proxies: two of the whole namespace, one that wants the stable service and one that flaps.
NARROW = ("stable", "flapping-00")
# Growth of resident memory after the first seconds: what a leak would pass soon.
CONTROL_MB, PROXY_MB = 50, 10
WARM_SECONDS = 10
# CPU in the second half against the first half: work must not pile up. And a little for the noise of a shared machine.
CPU_RATIO, CPU_NOISE = 1.5, 0.05
RIGHT_WITHIN = 2.0
SETTLED_SECONDS = 60
_NAMESPACE, _PORT = "soak.local", 5000


def bound(options):
    """Seconds after which it is hopeless."""
    return 180 + 3 * options.flap_seconds


def _newest(field, name, given):
    """A program that was built, the newest one, as `run` finds the proxy."""
    if given:
        return given.resolve()
    target = Path(os.environ.get("CARGO_TARGET_DIR", field.repo / "target"))
    found = [path for profile in ("dist", "release", "debug") if (path := target / profile / name).is_file()]
    if not found:
        raise SoakError(f"no {name} was built yet: cargo build --release -p bowline-control -p bowline-tests")
    return max(found, key=lambda path: path.stat().st_mtime)


def _get(address, path):
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
        return json.loads(answer.read())


class _Proxy:
    """A proxy on the control plane, its apps on its forward listener."""

    def __init__(self, field, name, control, services=None):
        self.name, self.services = name, services
        outbound = free_port()
        self.outbound, self.admin = ("127.0.0.1", outbound), f"127.0.0.1:{free_port()}"
        argv = [field.bowline, "run", "--control", control, "--namespace", _NAMESPACE, "--outbound", f"127.0.0.1:{outbound}",
                "--admin", self.admin]
        self.proc = field.pack.start(name, argv + (["--services", ",".join(services)] if services else []), field.cpus)

    def ready(self):
        """It has its mesh."""
        try:
            return bool(_get(self.admin, "/endpoints")["endpoints"])
        except OSError:
            return False

    def endpoints(self):
        """{service: sorted addresses} of the services that flap."""
        found = {}
        for endpoint in _get(self.admin, "/endpoints")["endpoints"]:
            if endpoint["service"] != "stable":
                found.setdefault(endpoint["service"], []).append(endpoint["address"])
        return {service: sorted(addresses) for service, addresses in found.items()}


def _mesh(stable_port):
    def service(name, endpoints):
        return {"discoveryName": name, "clientAliases": [{"dnsName": f"{name}.{_NAMESPACE}", "port": _PORT}],
                "endpoints": endpoints}

    flapping = [service(f"flapping-{n:02}", {"registered": {}}) for n in range(SERVICES)]
    stable = service("stable", {"static": [{"address": f"127.0.0.1:{stable_port}"}]})
    return {"namespace": _NAMESPACE, "services": [stable, *flapping]}


def run(field):
    """Control, proxies and light load first; then the flaps; then the look at what is left."""
    out = Outcome(NAME, TITLE)
    light = LightLoad(RATE, f"stable.{_NAMESPACE}:{_PORT}")
    mesh_file = field.pack.workdir / "flaps.json"
    mesh_file.write_text(json.dumps(_mesh(light.port)))
    options = field.options
    control, url, admin = start_control(field.pack, _newest(field, "bowline-control", options.control), mesh_file, field.cpus)
    proxies = [_Proxy(field, "proxy-1", url), _Proxy(field, "proxy-2", url), _Proxy(field, "proxy-narrow", url, NARROW)]
    for proxy in proxies:
        if not wait_for(proxy.ready, 30):
            raise StartError(f"{proxy.name} did not get its mesh:\n{proxy.proc.last_words()}")
    # For one lease after its start a control plane takes no registered endpoint away: others may not have come back yet.
    if not wait_for(lambda: all(service["settled"] for service in _get(admin, "/snapshot")["services"]), SETTLED_SECONDS, 0.2):
        raise SoakError(f"the control plane has not settled within {SETTLED_SECONDS} s")
    seconds = options.flap_seconds
    light.start([proxy.outbound for proxy in proxies])
    flaps = field.pack.start("flaps", [
        _newest(field, "bowline-xds-load", options.load), "flaps", "--control", url, "--mesh", mesh_file, "--endpoints", ENDPOINTS,
        "--per-second", PER_SECOND, "--seconds", seconds, "--seed", field.seed, "--hold-seconds", 60,
    ], field.cpus)
    watched = {"control": control, **{proxy.name: proxy.proc for proxy in proxies}}
    samples, said = _watch(watched, flaps, seconds)
    wrong, took = _right(proxies, said["there"])
    light.stop()
    field.pack.stop(flaps)
    _judge(out, watched, samples, said, seconds, light)
    out.require(f"the last state is right in all proxies within {RIGHT_WITHIN:.0f} s", not wrong and took <= RIGHT_WITHIN,
                f"wrong in {', '.join(wrong)}" if wrong else f"after {took * 1e3:.0f} ms")
    return out


def _watch(watched, flaps, seconds):
    """Memory and CPU of all, twice a second, until the flaps have ended; and what the flaps say of themselves."""
    samples, said = [], []
    step = min(0.5, seconds / 10)
    last = [0.0]

    def ended():
        now = time.monotonic()
        if now - last[0] >= step:
            last[0] = now
            samples.append((now, {name: (measure.rss_mb(proc.pid), measure.cpu_ns(proc.pid) / 1e9)
                                  for name, proc in watched.items()}))
        said.extend(line for line in Path(flaps.log).read_text(errors="replace").splitlines() if line.startswith("{"))
        return said or not flaps.alive()

    wait_for(ended, seconds * 2 + 30)
    if not said:
        raise SoakError(f"the flaps did not come to their end:\n{flaps.last_words()}")
    return samples, json.loads(said[0])


def _right(proxies, there):
    """(names of the proxies that are wrong after a while, seconds until all were right)."""
    began = time.monotonic()
    there = {service: sorted(addresses) for service, addresses in there.items() if addresses}

    def wrong():
        return [proxy.name for proxy in proxies if proxy.endpoints() != {
            service: addresses for service, addresses in there.items() if not proxy.services or service in proxy.services}]

    wait_for(lambda: not wrong(), RIGHT_WITHIN)
    took = time.monotonic() - began
    return wrong(), took


def _judge(out, watched, samples, said, seconds, light):
    start = samples[0][0]
    warm = min(WARM_SECONDS, seconds / 3)
    after = [sample for sample in samples if sample[0] - start >= warm] or samples[-1:]
    middle, end = after[len(after) // 2], after[-1]
    rows = [["", "MB at the start", "after warm-up", "highest after", "CPU share, 1st half", "2nd half"]]
    for name in watched:
        level = after[0][1][name][0]
        highest = max(sample[1][name][0] for sample in after)
        share = lambda a, b: (b[1][name][1] - a[1][name][1]) / max(0.001, b[0] - a[0])
        first, second = share(after[0], middle), share(middle, end)
        rows.append([name, f"{samples[0][1][name][0]:.1f}", f"{level:.1f}", f"{highest:.1f}", f"{first:.2f}", f"{second:.2f}"])
        out.figures[name] = {"start_mb": samples[0][1][name][0], "level_mb": level, "highest_mb": highest,
                             "cpu_first": first, "cpu_second": second}
        limit = CONTROL_MB if name == "control" else PROXY_MB
        out.require(f"{name}: memory grows by less than {limit} MB after {warm:.0f} s", highest - level < limit,
                    f"{highest - level:+.1f} MB")
        out.require(f"{name}: CPU of the second half ≤ {CPU_RATIO} × that of the first half", second <= CPU_RATIO * first + CPU_NOISE,
                    f"{second:.2f} of a core, before {first:.2f}")
    for line in table(rows):
        out.line(line)
    rate = said["flaps"] / said["seconds"]
    out.line(f"{said['flaps']:,} flaps in {said['seconds']:.1f} s; {light.sent:,} requests meanwhile, slowest "
             f"{max(light.times, default=0) * 1e3:.0f} ms")
    out.figures |= {"flaps": said["flaps"], "flap_seconds": said["seconds"], "requests": light.sent,
                    "failed": len(light.failures)}
    # A debug build on a busy machine may fall behind; a load that is far smaller would show nothing.
    out.require(f"it was a load: at least half of {PER_SECOND} flaps a second", rate >= PER_SECOND / 2, f"{rate:.0f} a second")
    out.require("no registration was refused", not said["refused"], f"{len(said['refused'])} {said['refused'][:1] or ''}")
    out.require("no request of the light load failed", light.sent > 0 and not light.failures,
                f"{len(light.failures)} of {light.sent:,} {light.failures[:1] or ''}")
