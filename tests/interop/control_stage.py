"""What `control_check.py` is made with: Bowline's programs, endpoints, and questions to them."""

import asyncio
import json
import subprocess
import urllib.error
import urllib.request

from selfcheck import DEADLINE, Failed, Program

NAMESPACE = "hello-world.com"
# Not a range that anything else on this machine takes.
VIP_RANGE = "127.78.0.0/16"
class Stay(urllib.request.HTTPRedirectHandler):
    """Redirects are looked at, not followed."""

    def redirect_request(self, *_):
        return None


# No proxy of the environment's: everything is on loopback.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay)


def ask(url, proxy=None, data=None, headers=None):
    """(status, body, headers) of one request; status 0 where there is no answer."""
    through = urllib.request.ProxyHandler({"http": f"http://{proxy}"})
    opener = urllib.request.build_opener(through, Stay) if proxy else OPENER
    try:
        with opener.open(urllib.request.Request(url, data=data, headers=headers or {}), timeout=5) as response:
            return response.status, response.read().decode(), response.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace"), error.headers
    except OSError as error:
        return 0, str(error), {}


async def answer(url, proxy=None, headers=None):
    """The same, off the event loop's thread."""
    return await asyncio.to_thread(ask, url, proxy, None, headers)


async def wait_for(what, look):
    """Asks until it is true. `look` is a coroutine function that returns (whether, what was seen)."""
    end = asyncio.get_running_loop().time() + DEADLINE
    while True:
        done, seen = await look()
        if done:
            return seen
        if asyncio.get_running_loop().time() > end:
            raise Failed(f"waited in vain for {what}; last seen: {seen}")
        await asyncio.sleep(0.05)


async def answers(what, url, status, body=None, proxy=None):
    """Waits for such an answer."""
    async def look():
        seen = await answer(url, proxy)
        return seen[0] == status and body in (None, seen[1]), seen[:2]

    await wait_for(what, look)


def expect(what, seen, good):
    """Fails unless it is good."""
    if not good:
        raise Failed(f"{what}: {seen}")
    print(f"  {what}: {seen}", flush=True)


class Stage:
    """Everything that runs in one check."""

    def __init__(self, folder, paths):
        self.folder = folder
        self.paths = paths
        self.programs = []
        self.endpoints = {}  # name -> (program, address)

    async def script(self, *arguments):
        """Runs one of the scripts beside this one."""
        program = await Program.start(self.folder, *arguments)
        self.programs.append(program)
        return program

    async def bowline(self, name, *arguments):
        """Runs one of Bowline's programs. Returns it with the addresses that it logs."""
        command = [self.paths[name], *arguments, "--log-format", "json"]
        program = await Program.launch(self.folder, name, "stderr", *command)
        self.programs.append(program)
        up = await program.line("its start", lambda line: isinstance(line, dict) and "is up" in line["message"])
        return program, up

    async def endpoint(self, kind, *names):
        """More endpoints, which nobody knows of yet."""
        async def one(name):
            program = await self.script("endpoint.py", kind, name)
            self.endpoints[name] = (program, await program.first())

        await asyncio.gather(*map(one, names))

    def address(self, name):
        """Of an endpoint."""
        return self.endpoints[name][1]

    async def end(self):
        """Ends everything that is still there."""
        ended = [await asyncio.gather(program.stop(kill=True), return_exceptions=True)
                 for program in reversed(self.programs)]
        for [error] in ended:
            if error is not None:
                raise error


class Control:
    """Bowline's control plane on a mesh file that changes. `mesh`: {service: (protocol, port, [names] or None)}; None:
    its tasks register themselves."""

    def __init__(self, stage, mesh):
        self.stage = stage
        self.mesh = mesh
        self.file = stage.folder / "mesh.json"
        self.program = self.listen = self.admin = None
        self.weights = {}  # of endpoints, where not 1
        self.labels = {}  # of endpoints, where there are some
        self.zones = {}  # of endpoints, where they are known
        self.policies = {}  # service -> more keys

    def write(self):
        """The file as it is to be; renamed into its place, so that nobody sees half of it."""
        def endpoints(names):
            if names is None:
                return {"registered": {}}
            return {"static": [{"address": self.stage.address(name), "weight": self.weights.get(name, 1),
                                "metadata": self.labels.get(name, {}),
                                **({"zone": self.zones[name]} if name in self.zones else {})} for name in names]}

        services = [{"discoveryName": service, **({"appProtocol": protocol} if protocol else {}),
                     "clientAliases": [{"dnsName": f"{service}.{NAMESPACE}", "port": port}],
                     "endpoints": endpoints(names), **self.policies.get(service, {})}
                    for service, (protocol, port, names) in self.mesh.items()]
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps({"namespace": NAMESPACE, "services": services}))
        fresh.rename(self.file)

    def set(self, service, names):
        """Other endpoints for a service; `write` makes it so."""
        protocol, port, _ = self.mesh[service]
        self.mesh[service] = (protocol, port, list(names))

    async def start(self):
        """Starts it; the second time at the same addresses."""
        self.program, up = await self.stage.bowline(
            "control", "serve", "--mesh", self.file, "--listen", self.listen or "127.0.0.1:0", "--admin",
            self.admin or "127.0.0.1:0", "--vip-range", VIP_RANGE, "--state-dir", self.stage.folder / "control-state")
        self.listen, self.admin = up["listen"], up["admin"]

    def bootstrap(self, client, state_of_the_world=False):
        """What it prints for such a client, as a file; or with Envoy's other kind of stream."""
        text = subprocess.run([self.stage.paths["control"], "bootstrap", client, "--control", self.listen], check=True,
                              stdout=subprocess.PIPE, text=True).stdout
        print("".join(f"    {line}\n" for line in text.splitlines()), end="")
        file = self.stage.folder / ("bootstrap.yaml" if client == "envoy" else "bootstrap.json")
        file.write_text(text.replace("api_type: DELTA_GRPC", "api_type: GRPC") if state_of_the_world else text)
        return file

    async def page(self, path):
        """An admin page."""
        status, body, _ = await answer(f"http://{self.admin}{path}")
        if status != 200:
            raise Failed(f"{path}: {status} {body}")
        return json.loads(body)

    async def vips(self):
        """{service: (VIP, port)}"""
        snapshot = await self.page("/snapshot")
        return {one["service"]: (*one["vips"].values(), self.mesh[one["service"]][1]) for one in snapshot["services"]}

    async def client(self, kind):
        """What is said of the one client of this kind, once it is there."""
        async def look():
            clients = [one for one in (await self.page("/clients"))["clients"] if one["kind"] == kind]
            return len(clients) == 1, clients

        return (await wait_for(f"one client of kind {kind}", look))[0]

    async def check_client(self, kind, service, everything):
        """That it has refused nothing, and that it is said what it can't do. `everything`: it wants the whole mesh, so
        it must come to have acknowledged all that was published."""
        async def look():
            page = await self.page("/clients")
            seen = [one for one in page["clients"] if one["kind"] == kind]
            return seen and (seen[0]["acknowledged"] >= page["revision"] or not everything), (page["revision"], seen)

        _, [seen] = await wait_for(f"{kind} to acknowledge all", look)
        shown = {key: value for key, value in seen.items() if key != "lost"}
        expect(f"/clients, {kind}", shown, seen["nacks"] == 0 and seen["pushes"] > 0 and seen["acknowledged"] > 0)
        expect(f"/clients, lost for {service}", seen["lost"].get(service), seen["lost"].get(service))

    async def outage(self, meanwhile):
        """Killed, and started again when `meanwhile` is over."""
        await self.program.stop(kill=True)
        await meanwhile()
        await self.start()


async def finish(name, load):
    """Ends a load, of which nothing may have failed."""
    served, failures = await load.end()
    expect(f"{name}: served {dict(served)}, failed", dict(failures), served and not failures)
