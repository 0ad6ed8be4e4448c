"""Envoy and HAProxy with the bench's configurations, changed only where a soak could not be run with them."""

import json

from peers import Envoy, HAProxy, World


class _Envoy(Envoy):
    shared = False

    def config(self, admin, ports):
        """With `shared`, HTTP/1.1 clients go to the HTTP/2 endpoint too, as with Bowline."""
        config = super().config(admin, ports)
        if not self.shared:
            return config
        text = json.dumps(config).replace('"cluster": "web"', '"cluster": "web2"')
        # The route's timeout bounds a whole response, which a slow reader rightly exceeds.
        return json.loads(text.replace('"timeout": "15s"', '"timeout": "0s"'))


class _HAProxy(HAProxy):
    shared = False

    def _conf(self, ports):
        """With `shared`, likewise."""
        conf = super()._conf(ports)
        if self.shared:
            conf = conf.replace("default_backend web\n", "default_backend web2\n")
        # It reckons with two files for each connection, of which idle ones have one.
        return conf + "\nglobal\n    no strict-limits\n"


def start(field, backend, shared):
    """Starts both; returns them running."""
    world = World(pack=field.pack, backend=backend, proxy_cpus=field.cpus, tools=field.tools, repo=field.repo)
    running = []
    for kind in (_Envoy, _HAProxy):
        peer = kind(world)
        peer.shared = shared
        peer.max_connections = field.options.idle + 2000
        running.append(peer.start())
    return running
