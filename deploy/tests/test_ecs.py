"""The ECS example: filled in as its README says, then taken by botocore's validation and by moto's ECS, IAM and Route 53.

Needs boto3, moto and PyYAML. With BOWLINE=path of the command line its own check looks at the mesh file too.
"""

import glob
import json
import os
import subprocess
import tempfile
import unittest

import boto3
import yaml
from moto import mock_aws

ECS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "ecs")
REGION = "eu-west-1"
BLANKS = {
    "ACCOUNT": "123456789012",
    "REGION": REGION,
    "CLUSTER": "workflow",
    "ZONE_ID": "Z0123456789ABC",
    "REGISTRY_ARN": "arn:aws:servicediscovery:eu-west-1:123456789012:service/srv-abcdefghijklmnop",
    "TOKEN_ARN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:bowline/token-AbCdEf",
    "REGISTRATION_ARN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:bowline/registration-GhIjKl",
    "SUBNET_A": "subnet-0aaaaaaaaaaaaaaaa",
    "SUBNET_B": "subnet-0bbbbbbbbbbbbbbbb",
    "SG_TASKS": "sg-0aaaaaaaaaaaaaaaa",
    "SG_CONTROL": "sg-0cccccccccccccccc",
}
# What Fargate has memory for, in MiB, at a number of CPU units: the sizes that the example uses.
FARGATE = {"256": {512, 1024, 2048}, "512": {1024, 2048, 3072, 4096}}


def fill(folder, **changed):
    """Runs the example's own script."""
    environment = {"PATH": os.environ["PATH"], **BLANKS, **changed}
    return subprocess.run(
        [os.path.join(ECS, "fill"), folder],
        env={name: value for name, value in environment.items() if value is not None},
        capture_output=True, text=True,
    )  # fmt: skip


def load(folder, kind):
    """The files of a kind, by name."""
    found = {}
    for path in glob.glob(os.path.join(folder, kind, "*.json")):
        with open(path, encoding="utf-8") as file:
            found[os.path.basename(path).removesuffix(".json")] = json.load(file)
    return found


def named(items, name):
    """The one of this name."""
    return next(item for item in items if item["name"] == name)


def environment(container):
    """A container's variables."""
    return {pair["name"]: pair["value"] for pair in container.get("environment", [])}


def secrets(container):
    """What a container is given of secrets: variable -> where from."""
    return {pair["name"]: pair["valueFrom"] for pair in container["secrets"]}


def network():
    """Subnets and security groups that are there: services are only taken with such."""
    ec2 = boto3.client("ec2", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    made = {}
    for number, blank in enumerate(["SUBNET_A", "SUBNET_B"]):
        made[blank] = ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24")["Subnet"]["SubnetId"]
    for blank in ("SG_TASKS", "SG_CONTROL"):
        made[blank] = ec2.create_security_group(VpcId=vpc, GroupName=blank, Description=blank)["GroupId"]
    return made


class Example(unittest.TestCase):
    """All files of the example together."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        done = fill(folder.name)
        if done.returncode:
            raise AssertionError(done.stderr)
        cls.folder = folder.name
        cls.tasks = load(folder.name, "task-definitions")
        cls.services = load(folder.name, "services")
        cls.policies = load(folder.name, "iam")
        with open(os.path.join(ECS, "mesh.yaml"), encoding="utf-8") as file:
            cls.mesh = {service["discoveryName"]: service for service in yaml.safe_load(file)["services"]}
        cls.apps = {name: task for name, task in cls.tasks.items() if name != "bowline-control"}

    def test_a_missing_blank_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            done = fill(folder, ZONE_ID=None, SUBNET_B=None)
            self.assertEqual((done.returncode, os.listdir(folder)), (2, []))
            self.assertIn("ZONE_ID SUBNET_B", done.stderr)

    def test_no_blank_is_left(self):
        for path in glob.glob(os.path.join(self.folder, "*", "*.json")):
            with open(path, encoding="utf-8") as file:
                text = file.read()
            for blank in BLANKS:
                self.assertNotRegex(text, rf"[^A-Z_]{blank}[^A-Z_]", path)

    @mock_aws
    def test_ecs_takes_them(self):
        # The client checks every name and type against AWS's own description of the call before anything is sent.
        ecs = boto3.client("ecs", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")
        ecs.create_cluster(clusterName="workflow")
        self.assertEqual(len(self.tasks), 5)
        for name, task in self.tasks.items():
            taken = ecs.register_task_definition(**task)["taskDefinition"]
            self.assertEqual(taken["family"], name)
        self.assertEqual(set(self.services), set(self.tasks))
        real = network()
        for name, service in self.services.items():
            text = json.dumps(service)
            for blank, value in real.items():
                text = text.replace(BLANKS[blank], value)
            service = json.loads(text)
            self.assertEqual(ecs.create_service(**service)["service"]["serviceName"], name)

    @mock_aws
    def test_iam_takes_the_policies(self):
        iam = boto3.client("iam", aws_access_key_id="x", aws_secret_access_key="x")
        iam.create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(self.policies["trust"]))
        for name in ("control", "execution", "tokens"):
            iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(self.policies[name]))

    def test_the_control_plane_may_touch_one_zone_and_nothing_else(self):
        allowed = {}
        for statement in self.policies["control"]["Statement"]:
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            allowed.update(dict.fromkeys(actions, statement["Resource"]))
        zone = f"arn:aws:route53:::hostedzone/{BLANKS['ZONE_ID']}"
        self.assertEqual(
            allowed,
            dict.fromkeys(
                ["route53:GetHostedZone", "route53:ListResourceRecordSets", "route53:ChangeResourceRecordSets"], zone
            ),
        )

    def test_each_task_fits_its_size(self):
        for name, task in self.tasks.items():
            self.assertIn(int(task["memory"]), FARGATE[task["cpu"]], name)
            self.assertLess(sum(c.get("cpu", 0) for c in task["containerDefinitions"]), int(task["cpu"]), name)
            self.assertLess(sum(c.get("memory", 0) for c in task["containerDefinitions"]), int(task["memory"]), name)

    def test_the_app_starts_after_the_sidecar(self):
        for name, task in self.apps.items():
            app, sidecar = task["containerDefinitions"][0], named(task["containerDefinitions"], "bowline")
            self.assertEqual(app["name"], name)
            self.assertIn({"containerName": "bowline", "condition": "HEALTHY"}, app["dependsOn"])
            self.assertEqual(sidecar["healthCheck"]["command"], ["CMD", "/bowline-proxy", "health"])
            self.assertGreater(sidecar["stopTimeout"], app["stopTimeout"])
            self.assertTrue(sidecar["readonlyRootFilesystem"])
            self.assertTrue(app["essential"])
            self.assertEqual(len(task["containerDefinitions"]), 2)

    def test_each_task_registers_its_own_ports(self):
        registered = {}
        for name, task in self.apps.items():
            ports = {mapping["containerPort"] for mapping in task["containerDefinitions"][0]["portMappings"]}
            for entry in environment(named(task["containerDefinitions"], "bowline"))["BOWLINE_REGISTER"].split():
                service, port = entry.split(",")[0].split("=")
                registered[service] = int(port)
                self.assertIn(int(port), ports, name)
        self.assertEqual(set(registered), set(self.mesh))
        self.assertEqual(
            registered, {name: service["clientAliases"][0]["port"] for name, service in self.mesh.items()}
        )

    def test_what_an_app_calls_is_subscribed_to_and_what_it_listens_on_is_not(self):
        # A listener on a VIP and an app that listens on all addresses can't share a port: the app would not start.
        for name, task in self.apps.items():
            app, sidecar = task["containerDefinitions"][0], named(task["containerDefinitions"], "bowline")
            subscribed = set(environment(sidecar)["BOWLINE_SERVICES"].split(","))
            self.assertLessEqual(subscribed, set(self.mesh), name)
            listened = {mapping["containerPort"] for mapping in app["portMappings"]}
            dialled = {}
            for service in subscribed:
                alias = self.mesh[service]["clientAliases"][0]
                dialled[f"{alias['dnsName']}:{alias['port']}"] = alias["port"]
            self.assertFalse(listened & set(dialled.values()), name)
            called = {
                value.removeprefix("http://") for value in environment(app).values() if ".workflow.mesh:" in value
            }
            self.assertEqual(called, set(dialled), name)

    def test_each_task_gets_its_own_token_and_the_control_plane_all(self):
        registration = BLANKS["REGISTRATION_ARN"]
        self.assertEqual(
            secrets(self.tasks["bowline-control"]["containerDefinitions"][0]),
            {"BOWLINE_TOKEN": BLANKS["TOKEN_ARN"], "BOWLINE_REGISTRATION_TOKEN_LIST": registration},
        )
        for name, task in self.apps.items():
            sidecar = named(task["containerDefinitions"], "bowline")
            self.assertEqual(
                secrets(sidecar),
                {"BOWLINE_CONTROL_TOKEN": BLANKS["TOKEN_ARN"], "BOWLINE_REGISTER_TOKEN": f"{registration}:{name}::"},
            )

    def test_the_execution_roles_may_read_the_tokens(self):
        # A role is given the secret, of which a container is given a key.
        wanted = {BLANKS["TOKEN_ARN"], BLANKS["REGISTRATION_ARN"]}
        for name in ("execution", "tokens"):
            (statement,) = [
                statement
                for statement in self.policies[name]["Statement"]
                if statement["Action"] == "secretsmanager:GetSecretValue"
            ]
            self.assertEqual(set(statement["Resource"]), wanted, name)

    @unittest.skipUnless(os.environ.get("BOWLINE"), "BOWLINE is not set")
    def test_the_mesh_is_valid(self):
        done = subprocess.run(
            [os.environ["BOWLINE"], "check", os.path.join(ECS, "mesh.yaml")], capture_output=True, text=True
        )
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
