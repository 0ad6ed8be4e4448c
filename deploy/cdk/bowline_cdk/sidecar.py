"""The sidecar in a task definition."""

from dataclasses import dataclass
from typing import Optional

from aws_cdk import Duration
from aws_cdk import aws_ecs as ecs

from .state import USER, add_state


@dataclass(frozen=True)
class Registration:
    """A service that a task is an endpoint of: its port, and the path of its health check, if it has one."""

    service: str
    port: int
    health: Optional[str] = None

    def __str__(self):
        return f"{self.service}={self.port}" + (f",health={self.health}" if self.health else "")


def add_sidecar(
    task_definition,
    *,
    images,
    control_url,
    namespace,
    token,
    register_token=None,
    calls=(),
    registers=(),
    apps=None,
    environment=None,
    low_ports=False,
    cpu=64,
    memory_mib=128,
    stop_timeout=Duration.seconds(60),
    logging=None,
):
    """Adds the sidecar to a task definition of the network mode awsvpc, and lets the app wait for it.

    control_url: where the control plane is. token, register_token: secrets of ECS (`ecs.Secret`), which hands them to the
    sidecar; the second one is needed with `registers`. calls: the services that the task calls;
    none means all, which only goes well if the task listens on no alias's port itself. registers: Registrations. apps: the
    containers that call the mesh; by default the first essential one. low_ports: whether an alias has a port below 1024.
    stop_timeout: longer than the app's, which stops first. Returns the sidecar's container.
    """
    if task_definition.network_mode != ecs.NetworkMode.AWS_VPC:
        raise ValueError("Bowline needs the network mode awsvpc, in which the task's containers share their loopback")
    apps = apps or [task_definition.default_container]
    if not all(apps):
        raise ValueError("the task definition has no essential container yet: add the app before the sidecar")
    if registers and register_token is None:
        raise ValueError("a task that registers needs the register token")
    if task_definition.find_container("bowline"):
        raise ValueError("the task definition has the sidecar already")
    logging = logging or ecs.LogDrivers.aws_logs(stream_prefix="bowline")
    variables = {
        "BOWLINE_CONTROL": control_url,
        "BOWLINE_NAMESPACE": namespace,
        "BOWLINE_SERVICES": ",".join(calls),
        "BOWLINE_REGISTER": " ".join(str(entry) for entry in registers),
        "BOWLINE_STATE_DIR": "/var/lib/bowline",
        # Where all containers are stopped at once, the app is served to its end.
        "BOWLINE_DRAIN_SECONDS": str(max(1, int(stop_timeout.to_seconds()) - 5)),
        **(environment or {}),
    }
    secrets = {"BOWLINE_CONTROL_TOKEN": token}
    if registers:
        secrets["BOWLINE_REGISTER_TOKEN"] = register_token
    sidecar = task_definition.add_container(
        "bowline",
        container_name="bowline",
        image=images.proxy,
        user=USER,
        essential=True,
        cpu=cpu,
        memory_limit_mib=memory_mib,
        memory_reservation_mib=min(32, memory_mib),
        readonly_root_filesystem=True,
        environment={name: value for name, value in variables.items() if value},
        secrets=secrets,
        health_check=ecs.HealthCheck(
            command=["CMD", "/bowline-proxy", "health"],
            interval=Duration.seconds(5),
            timeout=Duration.seconds(3),
            retries=3,
            start_period=Duration.seconds(30),
        ),
        stop_timeout=stop_timeout,
        system_controls=(
            [ecs.SystemControl(namespace="net.ipv4.ip_unprivileged_port_start", value="0")] if low_ports else None
        ),
        logging=logging,
    )
    sidecar.add_ulimits(ecs.Ulimit(name=ecs.UlimitName.NOFILE, soft_limit=65535, hard_limit=65535))
    add_state(task_definition, sidecar)
    for app in apps:
        app.add_container_dependencies(
            ecs.ContainerDependency(container=sidecar, condition=ecs.ContainerDependencyCondition.HEALTHY)
        )
    return sidecar
