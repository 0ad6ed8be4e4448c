"""Bowline for CDK stacks: a control plane with its zone, and the sidecar for task definitions that are there already.

    mesh = BowlineMesh(self, "Mesh", cluster=cluster, namespace="hello-world.com", images=images)
    mesh.add_sidecar(task_definition, calls=["server"], registers=[Registration("client", 9001)])
    mesh.allow(service)
"""

from .images import Images
from .mesh import BowlineMesh
from .sidecar import Registration, add_sidecar

__all__ = ["BowlineMesh", "Images", "Registration", "add_sidecar"]
