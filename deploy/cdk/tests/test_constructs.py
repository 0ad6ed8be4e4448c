"""The constructs, synthesised: what is in the template, and whether cfn-lint takes it.

Needs aws-cdk-lib, cfn-lint and node. Run in deploy/cdk: `python3 -m unittest discover tests`.
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

CDK = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, CDK)

import aws_cdk as cdk  # noqa: E402
from aws_cdk import assertions  # noqa: E402
from aws_cdk import aws_ec2 as ec2  # noqa: E402
from aws_cdk import aws_ecs as ecs  # noqa: E402
from aws_cdk import aws_secretsmanager as secretsmanager  # noqa: E402

import example  # noqa: E402
from bowline_cdk import BowlineMesh, Images, Registration, add_sidecar  # noqa: E402

IMAGES = Images(*(ecs.ContainerImage.from_registry(name) for name in ("proxy:1", "control:1")))


def containers(template, family_has):
    """The containers of the task definition that has one of this name, by name."""
    for resource in template.find_resources("AWS::ECS::TaskDefinition").values():
        found = {entry["Name"]: entry for entry in resource["Properties"]["ContainerDefinitions"]}
        if family_has in found:
            return found, resource["Properties"]
    raise AssertionError(f"no task definition has {family_has}")


def variables(container):
    """A container's environment."""
    return {pair["Name"]: pair["Value"] for pair in container["Environment"]}


def secrets(container):
    """The variables that ECS fills with secrets: name -> the secret's name in the template."""
    return {pair["Name"]: pair["ValueFrom"]["Ref"] for pair in container["Secrets"]}


class Whole(unittest.TestCase):
    """The example's template."""

    @classmethod
    def setUpClass(cls):
        cls.stack = example.Workflow(cdk.App(), "Workflow")
        cls.template = assertions.Template.from_stack(cls.stack)

    def test_cfn_lint_takes_it(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "template.json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(self.template.to_json(), file)
            lint = os.path.join(os.path.dirname(sys.executable), "cfn-lint")
            done = subprocess.run([lint, "--", path], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_the_app_waits_for_the_sidecar_and_is_else_as_it_was(self):
        found, task = containers(self.template, "engine")
        self.assertEqual(list(found), ["engine", "bowline"])
        self.assertEqual(found["engine"]["DependsOn"], [{"Condition": "HEALTHY", "ContainerName": "bowline"}])
        self.assertEqual(
            set(found["engine"]),
            {"DependsOn", "Environment", "Essential", "Image", "LogConfiguration", "Name", "PortMappings"},
        )
        self.assertEqual([volume["Name"] for volume in task["Volumes"]], ["bowline-state"])

    def test_the_sidecar(self):
        found, _ = containers(self.template, "engine")
        sidecar = found["bowline"]
        self.assertEqual(
            variables(sidecar),
            {
                "BOWLINE_CONTROL": "http://control.bowline.internal:18000",
                "BOWLINE_NAMESPACE": "workflow.mesh",
                "BOWLINE_SERVICES": "workflow-agent,workflow-agent-grpc",
                "BOWLINE_REGISTER": "workflow-engine=8002,health=/health/ready",
                "BOWLINE_STATE_DIR": "/var/lib/bowline",
                "BOWLINE_DRAIN_SECONDS": "55",
            },
        )
        self.assertEqual(sidecar["HealthCheck"]["Command"], ["CMD", "/bowline-proxy", "health"])
        self.assertEqual(set(secrets(sidecar)), {"BOWLINE_CONTROL_TOKEN", "BOWLINE_REGISTER_TOKEN"})
        self.assertNotIn("DependsOn", sidecar)
        self.assertTrue(sidecar["ReadonlyRootFilesystem"])
        self.assertEqual((sidecar["User"], sidecar["Memory"], sidecar["StopTimeout"]), ("20001", 128, 60))
        self.assertNotIn("SystemControls", sidecar)

    def test_the_control_plane_knows_the_tokens_that_tasks_show(self):
        made = self.template.find_resources("AWS::SecretsManager::Secret")
        self.assertEqual(len(made), 3)
        control = secrets(containers(self.template, "bowline-control")[0]["bowline-control"])
        sidecar = secrets(containers(self.template, "engine")[0]["bowline"])
        self.assertEqual(set(control), {"BOWLINE_TOKEN", "BOWLINE_REGISTRATION_TOKEN_LIST"})
        self.assertEqual(control["BOWLINE_TOKEN"], sidecar["BOWLINE_CONTROL_TOKEN"])
        # Its list is JSON with the tasks' own token in it, which CloudFormation puts there.
        _, parts = made[control["BOWLINE_REGISTRATION_TOKEN_LIST"]]["Properties"]["SecretString"]["Fn::Join"]
        self.assertEqual([part for part in parts if not isinstance(part, str)], [{"Ref": sidecar["BOWLINE_REGISTER_TOKEN"]}])
        text = "".join(part if isinstance(part, str) else "ARN" for part in parts)
        self.assertEqual(json.loads(text), {"*": "{{resolve:secretsmanager:ARN:SecretString:::}}"})

    def test_the_execution_role_may_read_the_tokens(self):
        for family, name in (("engine", "bowline"), ("bowline-control", "bowline-control")):
            found, task = containers(self.template, family)
            role = task["ExecutionRoleArn"]["Fn::GetAtt"][0]
            readable = set()
            for policy in self.template.find_resources("AWS::IAM::Policy").values():
                if policy["Properties"]["Roles"] == [{"Ref": role}]:
                    for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
                        if "secretsmanager:GetSecretValue" in statement["Action"]:
                            readable.add(statement["Resource"]["Ref"])
            self.assertEqual(readable, set(secrets(found[name]).values()), family)

    def test_the_control_plane_may_write_its_zone_and_nothing_else(self):
        _, task = containers(self.template, "bowline-control")
        role = task["TaskRoleArn"]["Fn::GetAtt"][0]
        (zone,) = self.template.find_resources("AWS::Route53::HostedZone")
        allowed = {}
        for policy in self.template.find_resources("AWS::IAM::Policy").values():
            if policy["Properties"]["Roles"] == [{"Ref": role}]:
                for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
                    actions = statement["Action"]
                    for action in actions if isinstance(actions, list) else [actions]:
                        allowed[action] = statement["Resource"]["Fn::Join"][1][-1]
        self.assertEqual(
            allowed,
            dict.fromkeys(
                ["route53:GetHostedZone", "route53:ListResourceRecordSets", "route53:ChangeResourceRecordSets"],
                {"Ref": zone},
            ),
        )

    def test_only_proxies_reach_the_control_plane(self):
        rules = self.template.find_resources("AWS::EC2::SecurityGroupIngress").values()
        self.assertEqual([rule["Properties"]["ToPort"] for rule in rules], [18000])
        for group in self.template.find_resources("AWS::EC2::SecurityGroup").values():
            self.assertNotIn("SecurityGroupIngress", group["Properties"])

    def test_one_control_plane_at_a_time(self):
        self.template.has_resource_properties(
            "AWS::ECS::Service",
            {
                "DesiredCount": 1,
                "DeploymentConfiguration": assertions.Match.object_like(
                    {"MinimumHealthyPercent": 0, "MaximumPercent": 100}
                ),
                "ServiceRegistries": assertions.Match.any_value(),
            },
        )


class OwnTokens(unittest.TestCase):
    """A secret of the user's, with a token for each service."""

    def test_each_task_gets_its_own(self):
        stack = cdk.Stack(cdk.App(), "Stack")
        cluster = ecs.Cluster(stack, "Cluster", vpc=ec2.Vpc(stack, "Vpc"))
        registration = secretsmanager.Secret(stack, "Mine")
        mesh = BowlineMesh(
            stack, "Mesh", cluster=cluster, namespace="hello-world.com", images=IMAGES, registration=registration
        )
        task = ecs.FargateTaskDefinition(stack, "Task")
        task.add_container("app", image=ecs.ContainerImage.from_registry("app:1"))
        mesh.add_sidecar(task, registers=[Registration("server", 9001), Registration("server-grpc", 9002)])
        template = assertions.Template.from_stack(stack)
        self.assertEqual(len(template.find_resources("AWS::SecretsManager::Secret")), 2)
        control = secrets(containers(template, "bowline-control")[0]["bowline-control"])
        sidecar = {pair["Name"]: pair["ValueFrom"] for pair in containers(template, "app")[0]["bowline"]["Secrets"]}
        ref = {"Ref": control["BOWLINE_REGISTRATION_TOKEN_LIST"]}
        self.assertEqual(sidecar["BOWLINE_REGISTER_TOKEN"], {"Fn::Join": ["", [ref, ":server::"]]})


class Refusals(unittest.TestCase):
    """What can't go well is refused, in words."""

    def setUp(self):
        self.stack = cdk.Stack(cdk.App(), "Stack")
        self.options = {
            "images": IMAGES,
            "control_url": "http://control.bowline.internal:18000",
            "namespace": "hello-world.com",
            "token": ecs.Secret.from_secrets_manager(secretsmanager.Secret(self.stack, "Token")),
        }

    def task(self, kind=ecs.FargateTaskDefinition, **options):
        """A task definition with an app."""
        task = kind(self.stack, "Task", **options)
        task.add_container("app", image=ecs.ContainerImage.from_registry("app:1"), memory_limit_mib=256)
        return task

    def test_bridge_mode(self):
        with self.assertRaisesRegex(ValueError, "awsvpc"):
            add_sidecar(self.task(ecs.Ec2TaskDefinition), **self.options)

    def test_on_ec2_with_awsvpc_it_is_taken(self):
        task = self.task(ecs.Ec2TaskDefinition, network_mode=ecs.NetworkMode.AWS_VPC)
        add_sidecar(task, low_ports=True, **self.options)
        found, _ = containers(assertions.Template.from_stack(self.stack), "app")
        self.assertEqual(
            found["bowline"]["SystemControls"], [{"Namespace": "net.ipv4.ip_unprivileged_port_start", "Value": "0"}]
        )
        self.assertNotIn("BOWLINE_REGISTER", variables(found["bowline"]))
        self.assertEqual(list(secrets(found["bowline"])), ["BOWLINE_CONTROL_TOKEN"])

    def test_a_task_without_an_app(self):
        with self.assertRaisesRegex(ValueError, "add the app before"):
            add_sidecar(ecs.FargateTaskDefinition(self.stack, "Task"), **self.options)

    def test_twice(self):
        task = self.task()
        add_sidecar(task, **self.options)
        with self.assertRaisesRegex(ValueError, "already"):
            add_sidecar(task, **self.options)

    def test_a_registration_without_a_token(self):
        with self.assertRaisesRegex(ValueError, "register token"):
            add_sidecar(self.task(), registers=[Registration("server", 9001)], **self.options)

    def test_a_zone_that_cloud_map_would_own(self):
        cluster = ecs.Cluster(self.stack, "Cluster", vpc=ec2.Vpc(self.stack, "Vpc"))
        with self.assertRaisesRegex(ValueError, "must differ"):
            BowlineMesh(
                self.stack, "Mesh", cluster=cluster, namespace="a.internal", internal_domain="a.internal", images=IMAGES
            )


if __name__ == "__main__":
    unittest.main()
