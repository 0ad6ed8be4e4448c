"""The network between tasks: a VPC with its resolver and the metadata addresses, and a host outside of it."""

import json

from report import Failed
from task import Task

GATEWAY = "10.0.0.1"
RESOLVER = "10.0.0.2"
CONTROL = "10.0.0.10"
# Where ECS has the metadata of the task, and EC2 those of the instance.
TASK_METADATA = "169.254.170.2"
METADATA = ("169.254.169.254", TASK_METADATA)
OUTSIDE = "203.0.113.10"
OUTSIDE_NAME = "outside.test"
MOTO = f"http://{GATEWAY}:5005"
AWS = {"AWS_ENDPOINT_URL": MOTO, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "eu-west-1",
       "AWS_DEFAULT_REGION": "eu-west-1", "AWS_EC2_METADATA_DISABLED": "true"}


class Vpc:
    """A bridge in a namespace of its own, which routes to the outside. Made anew for each case."""

    def __init__(self, stage):
        self.stage = stage
        self.ports = 0
        self.task = Task(stage, "vpc", resolver="127.0.0.1")
        own = "".join(f"addr add {address}/32 dev br0\n" for address in (RESOLVER, *METADATA))
        # A bridge without an address of its own takes the lowest of its ports', another one when a port comes: whoever had
        # looked the router up before would send to an address that is nobody's.
        self.task.ip("link add br0 address 02:00:00:00:00:01 type bridge", "link set br0 up", f"addr add {GATEWAY}/16 dev br0", *own.splitlines())
        self.task.sysctl("net.ipv4.ip_forward", 1)
        self.records = {}
        self.states = {}
        self.zone = None
        self._write_records()
        self._write_states()
        self.task.script("apps/resolver.py", RESOLVER, self.task.folder / "records.json", MOTO)
        self.task.script("apps/metadata.py", self.task.folder / "metadata.json", *METADATA)
        self.outside = self._outside()

    def attach(self, task, address):
        """Plugs a task into the bridge."""
        self.ports += 1
        port = f"port{self.ports}"
        self.task.ip(f"link add {port} type veth peer name eth0 netns {task.keeper.pid}",
                     f"link set {port} master br0 up")
        task.ip(f"addr add {address}/16 dev eth0", "link set eth0 up", f"route add default via {GATEWAY}")
        task.address = address
        return task

    def make(self, name, address, **options):
        """A task in this network. The metadata endpoint knows of it."""
        task = self.attach(Task(self.stage, name, **options), address)
        self.state(task, "RUNNING")
        return task

    def _outside(self):
        """A host beyond the router: TLS with a certificate of its own, on a port that no alias has and on one that an alias
        has too, and a server that speaks first."""
        task = Task(self.stage, "outside")
        self.task.ip(f"link add wan type veth peer name eth0 netns {task.keeper.pid}", "addr add 203.0.113.1/24 dev wan",
                     "link set wan up")
        task.ip(f"addr add {OUTSIDE}/24 dev eth0", "link set eth0 up", "route add default via 203.0.113.1")
        task.address = OUTSIDE
        self.record(OUTSIDE_NAME, OUTSIDE)
        for port in (443, 5000):
            task.script("apps/tls_app.py", OUTSIDE, port, *self.stage.certificate)
        for port in (2525, 5003):
            task.script("apps/mail_app.py", OUTSIDE, port, "outside")
        return task

    def record(self, name, address):
        """A name that the resolver knows by itself, as it does those of the internet. None: not any more."""
        self.records[name] = address
        if address is None:
            del self.records[name]
        self._write_records()

    def _write_records(self):
        self._replace("records.json", {"records": self.records, "zone": self.zone})

    def state(self, task, desired):
        """What the metadata endpoint says of a task: RUNNING or STOPPED is what it is wanted to be."""
        self.states[task.name] = {"address": task.address, "desired": desired}
        self._write_states()

    def _write_states(self):
        self._replace("metadata.json", self.states)

    def _replace(self, name, value):
        """So that nobody reads half of it."""
        part = self.task.write(f"{name}.part", json.dumps(value))
        part.rename(self.task.folder / name)

    def metadata_variable(self, task):
        """What ECS tells a container of where its metadata is."""
        return {"ECS_CONTAINER_METADATA_URI_V4": f"http://{TASK_METADATA}/v4/{task.name}"}

    def private_zone(self, name):
        """Starts Route 53 with one private zone, which the resolver answers from. Returns the zone's id."""
        self.task.script("apps/moto_app.py", GATEWAY, MOTO.rpartition(":")[2])
        self.zone = self.route53("create", name).strip()
        if not self.zone:
            raise Failed("no zone came of it")
        self._write_records()
        return self.zone

    def route53(self, *arguments):
        """`apps/zone.py` with these arguments; returns what it prints."""
        return self.task.must(self.stage.python, self.stage.here / "apps/zone.py", *arguments, env=AWS)
