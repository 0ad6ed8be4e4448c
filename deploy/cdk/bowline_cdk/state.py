"""What the sidecar and the control plane have in common: their user, and the volume that they may write."""

from aws_cdk import aws_ecs as ecs

# Whom Bowline's images run as.
USER = "20001"


def add_state(task_definition, container):
    """A volume for what must be remembered while the task lives; all else is read-only."""
    task_definition.add_volume(name="bowline-state")
    container.add_mount_points(
        ecs.MountPoint(source_volume="bowline-state", container_path="/var/lib/bowline", read_only=False)
    )
