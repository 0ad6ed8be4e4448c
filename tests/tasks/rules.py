"""The packet filter rules that others install in a task: ECS for App Mesh, and ECS for Service Connect."""

import re

SERVICE_CONNECT_RANGE = "127.255.0.0/16"


def iptables(task, *lines):
    """Runs iptables once a line."""
    for line in lines:
        task.must("iptables", *line.split())


def appmesh(task, *, uid, app_ports, ingress, egress, ignored_ips, ignored_ports):
    """What the CNI plugin aws-appmesh installs for a `proxyConfiguration` of type APPMESH."""
    ports, ignored = ",".join(map(str, app_ports)), ",".join(map(str, ignored_ports))
    iptables(
        task,
        "-t nat -N APPMESH_INGRESS",
        f"-t nat -A APPMESH_INGRESS -p tcp -m multiport --dports {ports} -j REDIRECT --to-port {ingress}",
        "-t nat -A PREROUTING -p tcp -m addrtype ! --src-type LOCAL -j APPMESH_INGRESS",
        "-t nat -N APPMESH_EGRESS",
        f"-t nat -A APPMESH_EGRESS -m owner --uid-owner {uid} -j RETURN",
        f"-t nat -A APPMESH_EGRESS -p tcp -m multiport --dports {ignored} -j RETURN",
        f"-t nat -A APPMESH_EGRESS -p tcp -d {','.join(ignored_ips)} -j RETURN",
        f"-t nat -A APPMESH_EGRESS -p tcp -j REDIRECT --to {egress}",
        "-t nat -A OUTPUT -p tcp -m addrtype ! --dst-type LOCAL -j APPMESH_EGRESS")


def service_connect(task, *, egress, intercept, listener):
    """What the CNI plugin ecs-serviceconnect installs in an awsvpc task."""
    iptables(
        task,
        f"-t nat -A OUTPUT -p tcp -d {SERVICE_CONNECT_RANGE} -j REDIRECT --to-port {egress}",
        "-t nat -N ECS_SERVICE_CONNECT_INGRESS",
        f"-t nat -A ECS_SERVICE_CONNECT_INGRESS -p tcp --dport {intercept} -j REDIRECT --to-port {listener}",
        "-t nat -A PREROUTING -p tcp -m addrtype ! --src-type LOCAL -j ECS_SERVICE_CONNECT_INGRESS")


def somebody_elses(task):
    """A rule that has nothing to do with the mesh."""
    task.must("nft", "-f", "-", stdin="table ip somebody { chain out { type filter hook output priority 0; "
                                      "tcp dport 9 drop; }; }")


def listed(task):
    """All rules of a task's network, by the tools that are there, without what only counts."""
    out = ""
    for command in (["nft", "list", "ruleset"], ["iptables-save"], ["ip6tables-save"]):
        try:
            code, text, _ = task.run(*command)
        except OSError:
            continue
        if code == 0:
            out += text
    out = re.sub(r"^#.*\n", "", out, flags=re.MULTILINE)
    return re.sub(r"\[\d+:\d+\]|packets \d+ bytes \d+", "", out)
