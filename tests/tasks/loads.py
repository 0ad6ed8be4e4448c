"""Steady loads on a service, and what of them was lost."""

from dataclasses import dataclass

import mesh


@dataclass(frozen=True)
class Kind:
    """One kind of load: a script that prints what each app has served and what failed."""

    script: str
    arguments: tuple
    # So many must be served by an endpoint before it is stopped, and by the other one afterwards.
    enough: int


def http(method, path, connections, pause_ms, enough):
    """Requests over HTTP/1.1."""
    return Kind("load.py", (method, f"http://{mesh.NAME}:{mesh.SERVICES['server'][1]}{path}", connections, pause_ms), enough)


def grpc(method, message, callers, pause_ms, enough):
    """Calls with grpcio."""
    target = f"{mesh.NAME}:{mesh.SERVICES['server-grpc'][1]}"
    return Kind("grpc_load.py", (target, method, message, callers, pause_ms), enough)


KINDS = {
    "GET": http("GET", "/hello", 8, 5, 200),
    "slow GET": http("GET", "/wait/300", 4, 10, 15),
    "POST": http("POST", "/echo", 4, 10, 100),
    "slow POST": http("POST", "/wait/300", 4, 10, 15),
    "call that makes a call": http("GET", "/relay", 4, 20, 50),
    "gRPC call": grpc("Unary", "hello", 8, 10, 200),
    "gRPC stream": grpc("Slowly", "20", 4, 10, 15),
}


class Loads:
    """Loads that run at one time, in one task."""

    def __init__(self, task, names):
        self.task = task
        self.running = {name: task.script(f"clients/{KINDS[name].script}", *KINDS[name].arguments) for name in names}

    def each_served_by(self, app):
        """Waits until this app has served enough more of each."""
        def count(line):
            return line["served"].get(app, 0) if isinstance(line, dict) else 0

        for name, load in self.running.items():
            since, before, more = len(load.lines), max(map(count, load.lines)), KINDS[name].enough
            load.line(f"{more} more by {app}", lambda line, wanted=before + more: count(line) >= wanted, since)

    def close(self):
        """Ends what still runs, when something has gone wrong."""
        for load in self.running.values():
            load.kill()
            self.task.processes.remove(load)

    def end(self):
        """Lets all finish what is under way. Returns {name: its last line}."""
        for load in self.running.values():
            load.tell("stop")
        return {name: load.line("its last word", lambda line: isinstance(line, dict) and line["done"])
                for name, load in self.running.items()}
