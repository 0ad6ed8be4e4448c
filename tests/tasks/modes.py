"""The ways in which an app's calls come to the proxy, and how each is set up in a task."""

import json

import mesh
import rules
from net import CONTROL, METADATA, RESOLVER
from report import Failed, eventually
from task import SIDECAR_UID, owned_by_sidecar

LATE = f"late.{mesh.NAMESPACE}"
LATE_PORT = 5010


class World:
    """The two tasks of a mode: `app`, whose apps call, and `server`, which is called."""

    def __init__(self, stage, app, server, services):
        self.stage = stage
        self.app = app
        self.server = server
        self.services = services
        self.proxy = None
        self.control = None


class Mode:
    """One way. What is here is what most have in common: VIP listeners, and a resolver that knows nothing of the mesh."""

    needs = ()
    # Whether the server's apps listen on the ports that the aliases have.
    same_ports = False
    resolver = RESOLVER
    # Whether connections to the outside pass the proxy.
    through = False
    # What the apps' environment has.
    env = {}

    def prepare(self, world):
        """Before the proxy is started."""

    def flags(self, world):
        """The proxy's."""
        return ["--mesh", world.stage.mesh_file(world.app, world.services)]

    def declare(self, world):
        """Writes the world's services again, where they are read."""
        world.stage.mesh_file(world.app, world.services)

    def late_name(self, world):
        """What somebody has to do by hand for a new name, if anything."""

    def checks(self, world):
        """What there is to see in this mode alone, while all is up."""

    def afterwards(self, world):
        """What there is to see when the proxy has been killed."""


class StaticHosts(Mode):
    """Names in the hosts file, as a compose file's `extra_hosts` puts them there: pinned VIPs make it possible."""

    def prepare(self, world):
        world.app.name_by_hand(mesh.VIP, mesh.NAME)

    def late_name(self, world):
        vips = {alias["dnsName"]: alias["vip"] for service in world.app.page("/services")["services"]
                for alias in service["aliases"]}
        if LATE not in vips:
            raise Failed(f"{LATE} is not in /services")
        world.app.name_by_hand(vips[LATE], LATE)


class Zone(Mode):
    """Names from a private zone of Route 53, which the control plane keeps."""

    needs = ("--publish-zone",)
    # Records that are somebody else's, one of them under a name that the mesh would have too.
    foreign = {f"legacy.{mesh.NAMESPACE}": "10.0.9.9", f"taken.{mesh.NAMESPACE}": "10.0.9.8"}

    def prepare(self, world):
        zone = world.stage.vpc.private_zone(mesh.NAMESPACE)
        for name, address in self.foreign.items():
            world.stage.vpc.route53("put", zone, name, address)
        world.services["taken"] = mesh.one("http", 5011, [], name=f"taken.{mesh.NAMESPACE}")
        world.services["declared"] = mesh.one("http", 5012, [], name=f"declared.{mesh.NAMESPACE}")
        world.control = world.stage.control_plane(world.services, "--publish-zone", zone, "--zone-grace-seconds", "2")
        # Before any proxy has asked for it: a name that is not there is remembered as such for minutes.
        self.has(world, mesh.NAME, [mesh.VIP])

    def records(self, world):
        """What is in the zone."""
        return json.loads(world.stage.vpc.route53("list", world.stage.vpc.zone))

    def has(self, world, name, values):
        """Waits until a name has these A records."""
        eventually(f"{name} to have {values} in the zone",
                   lambda: (self.records(world).get(f"{name} A") or []) == values)

    def flags(self, world):
        return list(world.stage.by_control())

    def declare(self, world):
        world.stage.mesh_file(world.control, world.services)

    def checks(self, world):
        report = world.stage.report
        seen = self.records(world)
        for name, address in self.foreign.items():
            report.check(f"the foreign record {name} is untouched", seen.get(f"{name} A") == [address], seen)
        declared = seen.get(f"declared.{mesh.NAMESPACE} A", [])
        report.check("a service without endpoints has its name", len(declared) == 1 and declared[0].startswith("127."), seen)
        del world.services["declared"]
        self.declare(world)
        try:
            self.has(world, f"declared.{mesh.NAMESPACE}", [])
            report.check("the name of a service that has gone goes", True)
        except Failed as failed:
            report.failure("the name of a service that has gone goes", failed)
        seen = self.records(world)
        report.check("and leaves nothing behind", not [key for key in seen if "declared" in key], seen)
        world.control.control.kill()
        seen = world.app.run("curl", "--disable", "--silent", "--show-error", "--fail", "--max-time", 20,
                             f"http://{mesh.NAME}:{mesh.SERVICES['server'][1]}/hello")
        report.check("with the control plane away, the name and the service are still there", seen[0] == 0, seen)


class Dns(Mode):
    """Names from the proxy's own DNS server, which the task's resolv.conf names."""

    needs = ("--dns",)
    resolver = "127.0.0.1"
    dns_flags = ("--dns", "127.0.0.1:53", "--dns-upstream", f"{RESOLVER}:53")

    def prepare(self, world):
        self.lead(world, world.app)

    def lead(self, world, task):
        """Makes the questions of a task's apps come to its proxy: here its resolv.conf does."""

    def flags(self, world):
        return [*super().flags(world), *self.dns_flags]

    def ask(self, world, name, kind, way):
        """(code, addresses, TTLs) of an answer."""
        stage = world.stage
        seen = json.loads(world.app.must(stage.python, stage.here / "clients/dns_query.py", self.resolver, name, kind,
                                        way))
        return seen["code"], [address for address, _ in seen["answers"]], [ttl for _, ttl in seen["answers"]]

    def checks(self, world):
        report = world.stage.report
        for way in ("udp", "tcp"):
            code, addresses, ttls = self.ask(world, mesh.NAME, "A", way)
            report.check(f"A over {way}", (code, addresses) == (0, [mesh.VIP]), (code, addresses))
            report.check(f"with a short TTL over {way}", all(ttl <= 60 for ttl in ttls), ttls)
            seen = self.ask(world, mesh.NAME, "AAAA", way)
            report.check(f"AAAA over {way} is empty and no error", seen[:2] == (0, []), seen)
            seen = self.ask(world, "outside.test", "A", way)
            report.check(f"another name over {way} is asked of the system's resolver", seen[1] == ["203.0.113.10"], seen)
            seen = self.ask(world, "nowhere.test", "A", way)
            report.check(f"a name that nobody has over {way}", seen[:2] == (3, []), seen)
        seen = self.ask(world, mesh.NAME.upper(), "A", "udp")
        report.check("a name in capitals", seen[1] == [mesh.VIP], seen)
        self.without_control(world)

    def without_control(self, world):
        """A task whose sidecar has never heard from the control plane: the app's other names must not suffer."""
        stage = world.stage
        stage.tokens()
        task = stage.vpc.make("alone", "10.0.1.3", resolver=self.resolver)
        self.lead(world, task)
        stage.sidecar_process(task, *stage.by_control(), *self.dns_flags)

        def resolves():
            code, out, err = task.run("getent", "ahostsv4", "outside.test")
            if code != 0:
                raise Failed(f"exit code {code}: {err}")
            return "203.0.113.10" in out

        try:
            eventually("another name to resolve", resolves)
            stage.report.check("with a control plane that never was there, other names resolve", True)
        except Failed as failed:
            stage.report.failure("with a control plane that never was there, other names resolve", failed)


class RedirectDns(Dns):
    """The same where resolv.conf can't be changed: the questions to whatever resolver are redirected, and the VIP range. The
    proxy asks the resolver that resolv.conf names, by itself."""

    needs = ("--dns", "setup-redirect")
    resolver = RESOLVER
    dns_flags = ("--dns", "127.0.0.1:15053", "--no-vip-listeners")

    def lead(self, world, task):
        task.must(world.stage.proxy, "setup-redirect", "--dns", "--uid", SIDECAR_UID)


class Hosts(Mode):
    """Names in the hosts file, which the proxy writes. It is mounted, as those of containers are."""

    needs = ("--write-hosts",)

    def prepare(self, world):
        world.app.name_by_hand("10.0.9.9", "somebody.else")
        self.before = (world.app.folder / "hosts").read_text()
        owned_by_sidecar(world.app.folder / "hosts")

    def flags(self, world):
        return [*super().flags(world), "--write-hosts", "/etc/hosts"]

    def checks(self, world):
        # By what an app in the task sees, and in its file: one that was put into its place would be another one.
        text = world.app.must("cat", "/etc/hosts")
        for line in ("127.0.0.1 localhost", "10.0.9.9 somebody.else"):
            world.stage.report.check(f"the line `{line}` is kept", line in text.splitlines(), text)
        count = sum(mesh.NAME in line.split() for line in text.splitlines())
        world.stage.report.check("the name is there once", count == 1, text)

    def afterwards(self, world):
        # A proxy that was killed leaves its names behind, the next one finds them, and leaves nothing.
        report = world.stage.report
        proxy = world.stage.sidecar(world.app, *self.flags(world))
        eventually("the names", lambda: mesh.NAME in world.app.must("cat", "/etc/hosts"))
        text = world.app.must("cat", "/etc/hosts")
        count = sum(mesh.NAME in line.split() for line in text.splitlines())
        report.check("after a kill and a start the name is there once", count == 1, text)
        code = proxy.stop()
        text = world.app.must("cat", "/etc/hosts")
        report.check("when the proxy has ended, the file is as before", (code, text) == (0, self.before), (code, text))


class RedirectVip(StaticHosts):
    """The VIP range redirected, as Service Connect does, and no VIP listeners."""

    needs = ("setup-redirect",)

    def prepare(self, world):
        super().prepare(world)
        # Somebody else's, which must stay as it is.
        rules.somebody_elses(world.app)
        self.before = rules.listed(world.app)
        world.app.must(world.stage.proxy, "setup-redirect")

    def flags(self, world):
        return [*super().flags(world), "--no-vip-listeners"]

    def checks(self, world):
        report = world.stage.report
        installed = rules.listed(world.app)
        world.app.must(world.stage.proxy, "setup-redirect")
        seen = rules.listed(world.app)
        report.check("the rules again are the same rules", seen == installed != self.before, seen)
        world.app.must(world.stage.proxy, "setup-redirect", "--remove")
        seen = rules.listed(world.app)
        report.check("when they are removed, all is as before", seen == self.before, seen)
        world.app.must(world.stage.proxy, "setup-redirect")


class RedirectAll(Mode):
    """All outbound connections redirected, as App Mesh does. Names must resolve by themselves: here to the server's real
    address, as a Cloud Map DNS namespace does."""

    needs = ("setup-redirect",)
    same_ports = True
    through = True

    def prepare(self, world):
        world.stage.vpc.record(mesh.NAME, world.server.address)
        self.rules(world)

    def rules(self, world):
        """Installs them, as an init container does."""
        world.app.must(world.stage.proxy, "setup-redirect", "--all-outbound", "--uid", SIDECAR_UID)

    def flags(self, world):
        return [*super().flags(world), "--no-vip-listeners"]

    def late_name(self, world):
        world.stage.vpc.record(LATE, world.server.address)


class AppMesh(RedirectAll):
    """The same by ECS: `proxyConfiguration` of type APPMESH."""

    needs = ("setup-redirect", "iptables")

    def rules(self, world):
        rules.appmesh(world.app, uid=SIDECAR_UID, app_ports=(8080,), ingress=15006, egress=15001, ignored_ips=METADATA,
                      ignored_ports=(22,))


class ForwardProxy(Mode):
    """The environment's variables. No name of the mesh resolves."""

    env = {**dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "grpc_proxy", "all_proxy"),
                           "http://127.0.0.1:15001"),
           **dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(("localhost", "127.0.0.1", CONTROL, *METADATA)))}

    def flags(self, world):
        return [*super().flags(world), "--no-vip-listeners"]


MODES = {"static-hosts": StaticHosts, "zone": Zone, "dns": Dns, "redirect-dns": RedirectDns, "hosts": Hosts,
         "redirect-vip": RedirectVip, "redirect-all": RedirectAll, "appmesh": AppMesh, "forward-proxy": ForwardProxy}
