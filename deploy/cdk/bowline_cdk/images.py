"""The images that Bowline's containers are started from."""

from dataclasses import dataclass

from aws_cdk import aws_ecs as ecs


@dataclass(frozen=True)
class Images:
    """One image a program.

    proxy: bowline-proxy. control: bowline-control with the mesh at /etc/bowline/mesh.yaml, as deploy/ecs/Dockerfile.mesh
    makes it.
    """

    proxy: ecs.ContainerImage
    control: ecs.ContainerImage
