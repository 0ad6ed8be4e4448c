"""No proxy: what the app had before, beside which the others' figures are seen."""

from task import SERVER

from .base import Peer, Running, Target


class Direct(Peer):
    """The app's own connection to one of the servers, from a task without rules."""

    name = "direct"
    title = "direct"
    floor = True
    places = ("task",)
    notes = ("The app's own connections, in a network of the same kind without rules. To one server, of a service too.",)

    def binary(self):
        """There is none."""
        return None

    def start_in(self, task, protocol):
        """There is nothing to start."""
        port = {"h1": task.backend.h1[0], "tcp": task.backend.outside}[protocol]
        return Running(self, None, {protocol: Target(SERVER, port, f"{SERVER}:{port}", task.net)})
