"""The Terraform modules: formatted, the sidecar's own tests, and the example applied to moto, looked at and destroyed.

Needs terraform, boto3 and moto[server]. BOWLINE_TERRAFORM_PLUGINS names a folder with the aws provider, in Terraform's own
layout, where its registry is out of reach; without it `terraform init` asks the registry.
"""

import json
import logging
import os
import shutil
import subprocess
import tempfile
import unittest

import boto3
from moto.server import ThreadedMotoServer

TERRAFORM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "terraform")
REGION = "eu-west-1"
PLUGINS = os.environ.get("BOWLINE_TERRAFORM_PLUGINS")
# Where this is set, whatever is missing is a failure.
REQUIRED = os.environ.get("BOWLINE_REQUIRE_INTEROP") == "1"
SERVICES = ["ec2", "ecs", "iam", "logs", "route53", "secretsmanager", "servicediscovery", "sts"]


def terraform(folder, *arguments, check=True):
    """Runs it; nothing but `init` may ask the network."""
    configuration = os.path.join(folder, "terraform.rc")
    with open(configuration, "w", encoding="utf-8") as file:
        file.write("disable_checkpoint = true\n")
    done = subprocess.run(
        ["terraform", *arguments], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "TF_CLI_CONFIG_FILE": configuration, "TF_IN_AUTOMATION": "1"},
    )  # fmt: skip
    if check and done.returncode:
        raise AssertionError(f"terraform {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}")
    return done


def copy(case):
    """A copy of the modules, so that nothing is left behind in the tree."""
    folder = tempfile.TemporaryDirectory()
    case.addCleanup(folder.cleanup)
    target = os.path.join(folder.name, "terraform")
    shutil.copytree(TERRAFORM, target, ignore=shutil.ignore_patterns(".terraform*", "terraform.tfstate*"))
    return target


@unittest.skipUnless(shutil.which("terraform") or REQUIRED, "there is no terraform")
class Modules(unittest.TestCase):
    """What needs no provider."""

    def test_formatted(self):
        done = terraform(copy(self), "fmt", "-check", "-recursive", "-no-color", check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_the_sidecar_s_own_tests(self):
        folder = os.path.join(copy(self), "sidecar")
        terraform(folder, "init", "-no-color")
        done = terraform(folder, "test", "-no-color")
        self.assertRegex(done.stdout, r"Success! \d\d passed, 0 failed")


@unittest.skipUnless(shutil.which("terraform") or REQUIRED, "there is no terraform")
class Example(unittest.TestCase):
    """The example, applied to an AWS that moto plays."""

    @classmethod
    def setUpClass(cls):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        cls.moto = ThreadedMotoServer(port=0, verbose=False)
        cls.moto.start()
        cls.addClassCleanup(cls.moto.stop)
        host, port = cls.moto.get_host_and_port()
        cls.url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"

    def client(self, service):
        """A client of moto's."""
        return boto3.client(
            service, endpoint_url=self.url, region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x"
        )

    def provider(self):
        """The aws provider, pointed at moto. IPs and zones only: nothing asks the machine it runs on."""
        endpoints = "\n".join(f'    {service} = "{self.url}"' for service in SERVICES)
        return (
            f'provider "aws" {{\n  region = "{REGION}"\n  access_key = "x"\n  secret_key = "x"\n'
            "  skip_credentials_validation = true\n  skip_metadata_api_check = true\n"
            f"  skip_requesting_account_id = true\n  endpoints {{\n{endpoints}\n  }}\n}}\n"
        )

    def stage(self):
        """What the stack stands on, and the variables that name it."""
        ec2, secrets = self.client("ec2"), self.client("secretsmanager")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        made = [secrets.create_secret(Name=name, SecretString="12345678")["ARN"] for name in ("token", "registration")]
        return {
            "vpc_id": vpc,
            "subnet_ids": [subnet],
            "registry": "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "repository_arns": ["arn:aws:ecr:eu-west-1:123456789012:repository/workflow-mesh"],
            "token_secret_arn": made[0],
            "registration_secret_arn": made[1],
        }

    def test_it_can_be_applied_and_destroyed(self):
        folder = os.path.join(copy(self), "example")
        variables = self.stage()
        with open(os.path.join(folder, "moto.tf"), "w", encoding="utf-8") as file:
            file.write(self.provider())
        with open(os.path.join(folder, "terraform.tfvars.json"), "w", encoding="utf-8") as file:
            json.dump(variables, file)
        ready = terraform(folder, "init", "-no-color", *(["-plugin-dir", PLUGINS] if PLUGINS else []), check=False)
        if ready.returncode and not REQUIRED:
            self.skipTest(f"the aws provider is not to be had: {ready.stderr[-300:]}")
        self.assertEqual(ready.returncode, 0, ready.stderr)
        terraform(folder, "apply", "-auto-approve", "-no-color")

        zones = self.client("route53").list_hosted_zones()["HostedZones"]
        mesh = next(zone for zone in zones if zone["Name"] == "workflow.mesh.")
        self.assertTrue(mesh["Config"]["PrivateZone"])
        self.look_at_the_app(variables)
        self.look_at_control(mesh["Id"].rsplit("/", 1)[1], variables)

        self.nothing_left_to_do(folder)
        terraform(folder, "destroy", "-auto-approve", "-no-color")
        self.assertFalse(
            [zone for zone in self.client("route53").list_hosted_zones()["HostedZones"] if zone["Id"] == mesh["Id"]]
        )

    def nothing_left_to_do(self, folder):
        """A second apply changes nothing. A task definition that is never at rest would be a deployment each time."""
        terraform(folder, "plan", "-out", "again", "-no-color")
        plan = json.loads(terraform(folder, "show", "-json", "again").stdout)
        # moto forgets two things that AWS keeps: a rule's description, and a service's zone rebalancing.
        forgotten = {("aws_ecs_service", "update"), ("aws_vpc_security_group_ingress_rule", "update")}
        changed = {
            (change["type"], action)
            for change in plan["resource_changes"]
            for action in change["change"]["actions"]
            if action not in ("no-op", "read")
        }
        self.assertLessEqual(changed, forgotten)

    def look_at_the_app(self, variables):
        """The app's task has the sidecar, and its execution role may read the tokens."""
        task = self.client("ecs").describe_task_definition(taskDefinition="workflow-engine")["taskDefinition"]
        self.assertEqual(
            [container["name"] for container in task["containerDefinitions"]],
            ["workflow-engine", "bowline"],
        )
        self.assertEqual({volume["name"] for volume in task["volumes"]}, {"bowline-state"})
        self.assertEqual(
            {secret["name"]: secret["valueFrom"] for secret in task["containerDefinitions"][1]["secrets"]},
            {
                "BOWLINE_CONTROL_TOKEN": variables["token_secret_arn"],
                "BOWLINE_REGISTER_TOKEN": variables["registration_secret_arn"] + ":workflow-engine::",
            },
        )
        sidecar = {pair["name"]: pair["value"] for pair in task["containerDefinitions"][1]["environment"]}
        self.assertEqual(sidecar["BOWLINE_CONTROL"], "http://control.bowline.internal:18000")
        policy = self.client("iam").get_role_policy(RoleName="workflow-execution", PolicyName="bowline-tokens")
        self.assertEqual(
            set(policy["PolicyDocument"]["Statement"][0]["Resource"]),
            {variables["token_secret_arn"], variables["registration_secret_arn"]},
        )

    def look_at_control(self, zone, variables):
        """The control plane publishes to the zone, may write that zone alone, and only proxies reach it."""
        task = self.client("ecs").describe_task_definition(taskDefinition="bowline-control")["taskDefinition"]
        control = task["containerDefinitions"][0]
        self.assertEqual(control["command"], ["serve", "--publish-zone", zone])
        self.assertEqual(
            {secret["name"]: secret["valueFrom"] for secret in control["secrets"]},
            {
                "BOWLINE_TOKEN": variables["token_secret_arn"],
                "BOWLINE_REGISTRATION_TOKEN_LIST": variables["registration_secret_arn"],
            },
        )
        statements = self.client("iam").get_role_policy(RoleName="bowline-control", PolicyName="zone")
        resources = {statement["Resource"] for statement in statements["PolicyDocument"]["Statement"]}
        self.assertEqual(resources, {f"arn:aws:route53:::hostedzone/{zone}"})
        groups = self.client("ec2").describe_security_groups(
            Filters=[{"Name": "vpc-id", "Values": [variables["vpc_id"]]}]
        )["SecurityGroups"]
        ids = {group["GroupName"]: group["GroupId"] for group in groups}
        rule = next(group for group in groups if group["GroupName"] == "bowline-control")["IpPermissions"]
        self.assertEqual([(entry["FromPort"], entry["ToPort"]) for entry in rule], [(18000, 18000)])
        self.assertEqual(rule[0]["UserIdGroupPairs"][0]["GroupId"], ids["workflow-tasks"])
        self.assertEqual(rule[0]["IpRanges"], [])


if __name__ == "__main__":
    unittest.main()
