#!/usr/bin/env python3
"""A stack that was there before Bowline, and what is added to it: `cdk synth -a 'python3 example.py'`."""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs

from bowline_cdk import BowlineMesh, Images, Registration


class Workflow(cdk.Stack):
    """One service with its cluster; all that says "mesh" is new."""

    def __init__(self, scope, id, **options):
        super().__init__(scope, id, **options)
        vpc = ec2.Vpc(self, "Vpc", max_azs=2)
        cluster = ecs.Cluster(self, "Cluster", vpc=vpc)
        task = ecs.FargateTaskDefinition(self, "Engine", cpu=512, memory_limit_mib=1024)
        task.add_container(
            "engine",
            image=self.image("workflow-engine"),
            port_mappings=[ecs.PortMapping(container_port=8002)],
            environment={"WORKFLOW_AGENT_URL": "http://workflow-agent.workflow.mesh:8001"},
            logging=ecs.LogDrivers.aws_logs(stream_prefix="engine"),
        )
        service = ecs.FargateService(self, "EngineService", cluster=cluster, task_definition=task, desired_count=2)

        images = Images(proxy=self.image("bowline-proxy"), control=self.image("workflow-mesh"))
        mesh = BowlineMesh(self, "Mesh", cluster=cluster, namespace="workflow.mesh", images=images)
        mesh.add_sidecar(
            task,
            calls=["workflow-agent", "workflow-agent-grpc"],
            registers=[Registration("workflow-engine", 8002, "/health/ready")],
        )
        mesh.allow(service)

    def image(self, name):
        """An image of this account's registry."""
        return ecs.ContainerImage.from_ecr_repository(ecr.Repository.from_repository_name(self, name, name), "1")


if __name__ == "__main__":
    app = cdk.App()
    Workflow(app, "Workflow")
    app.synth()
