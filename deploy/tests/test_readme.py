"""deploy/README.md, followed: its commands, in their order, in one shell, against an AWS that moto plays.

docker is a stand-in that writes down what it is asked for; aws and bowline are the real ones. Needs the AWS CLI, boto3 and
moto[server], and BOWLINE=path of the command line.
"""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import boto3
from moto.server import ThreadedMotoServer

DEPLOY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
REGION = "eu-west-1"
REQUIRED = os.environ.get("BOWLINE_REQUIRE_INTEROP") == "1"
BOWLINE = os.environ.get("BOWLINE", "")
AWS = shutil.which("aws") or shutil.which("aws", path=os.path.dirname(sys.executable))
DOCKER = '#!/bin/sh\necho "$@" >>"$NOTES"\n[ "$1" = login ] && cat >/dev/null\nexit 0\n'
ROLE = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ecs-tasks.amazonaws.com"}}],
}


def blocks():
    """The commands of the page."""
    with open(os.path.join(DEPLOY, "README.md"), encoding="utf-8") as file:
        return re.findall(r"^```sh\n(.*?)^```$", file.read(), re.M | re.S)


def secrets(container):
    """What a container is given of secrets: variable -> where from."""
    return {pair["name"]: pair["valueFrom"] for pair in container["secrets"]}


@unittest.skipUnless((BOWLINE and AWS) or REQUIRED, "BOWLINE is not set, or there is no AWS CLI")
class Readme(unittest.TestCase):
    """A newcomer with an app of their own."""

    def client(self, service):
        """A client of moto's."""
        return boto3.client(
            service, endpoint_url=self.url, region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x"
        )

    def setUp(self):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        moto = ThreadedMotoServer(port=0, verbose=False)
        moto.start()
        self.addCleanup(moto.stop)
        self.url = f"http://127.0.0.1:{moto.get_host_and_port()[1]}"
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def newcomer(self):
        """What they have: a VPC, a cluster, and a service of one task definition. Returns the page's variables."""
        ec2, ecs, iam = self.client("ec2"), self.client("ecs"), self.client("iam")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24")["Subnet"]["SubnetId"] for number in range(2)
        ]
        group = ec2.create_security_group(VpcId=vpc, GroupName="app", Description="app")["GroupId"]
        role = iam.create_role(RoleName="app-execution", AssumeRolePolicyDocument=json.dumps(ROLE))["Role"]["Arn"]
        ecs.create_cluster(clusterName="mine")
        first = ecs.register_task_definition(
            family="app", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="512", memory="1024",
            executionRoleArn=role,
            containerDefinitions=[{"name": "app", "image": "app:7", "portMappings": [{"containerPort": 9001}]}],
        )  # fmt: skip
        ecs.create_service(
            cluster="mine", serviceName="app", taskDefinition=first["taskDefinition"]["taskDefinitionArn"], desiredCount=1, launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": subnets, "securityGroups": [group]}},
        )  # fmt: skip
        return {
            "AWS_DEFAULT_REGION": REGION, "REGION": REGION, "CLUSTER": "mine", "VPC_ID": vpc, "SUBNET_A": subnets[0],
            "SUBNET_B": subnets[1], "SG_TASKS": group, "TASK": "app", "SERVICE": "app",
            "EXECUTION_ROLE": "app-execution", "NAMESPACE": "hello-world.com",
        }  # fmt: skip

    def follow(self, commands, variables):
        """Runs them, in a copy of deploy/."""
        programs = os.path.join(self.folder, "bin")
        os.mkdir(programs)
        with open(os.path.join(programs, "docker"), "w", encoding="utf-8") as file:
            file.write(DOCKER)
        os.chmod(os.path.join(programs, "docker"), 0o755)
        os.symlink(os.path.abspath(BOWLINE), os.path.join(programs, "bowline"))
        os.symlink(AWS, os.path.join(programs, "aws"))
        tree = os.path.join(self.folder, "tree")
        shutil.copytree(os.path.join(DEPLOY, "ecs"), os.path.join(tree, "deploy", "ecs"))
        self.notes = os.path.join(self.folder, "docker.txt")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(commands)], cwd=tree, capture_output=True, text=True,
            env={
                "PATH": f"{programs}:/usr/bin:/bin", "HOME": self.folder, "NOTES": self.notes, "AWS_PAGER": "",
                "AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", **variables,
            },
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return tree

    def test_it_can_be_followed_to_the_end(self):
        mine, *steps = blocks()
        variables = self.newcomer()
        # The first block is what they fill in: each of its variables is one that the test has filled in.
        self.assertEqual(set(re.findall(r"([A-Z_]+)=", mine)), set(variables))
        *steps, change, out = steps
        ecs = self.client("ecs")

        tree = self.follow(steps, variables)
        latest = ecs.describe_task_definition(taskDefinition="app")["taskDefinition"]
        self.assertEqual([container["name"] for container in latest["containerDefinitions"]], ["app", "bowline"])
        app, sidecar = latest["containerDefinitions"]
        self.assertEqual(app["dependsOn"], [{"containerName": "bowline", "condition": "HEALTHY"}])
        environment = {pair["name"]: pair["value"] for pair in sidecar["environment"]}
        self.assertEqual(environment["BOWLINE_CONTROL"], "http://control.bowline.internal:18000")
        self.assertEqual(environment["BOWLINE_REGISTER"], "server=9001")
        self.tokens(sidecar)
        services = ecs.describe_services(cluster="mine", services=["app", "bowline-control"])["services"]
        used = {service["serviceName"]: service["taskDefinition"] for service in services}
        now = ecs.describe_task_definition(taskDefinition=used["app"])["taskDefinition"]["taskDefinitionArn"]
        self.assertEqual(now, latest["taskDefinitionArn"])
        self.assertIn("bowline-control", used)
        self.images(used["bowline-control"], latest)

        shutil.rmtree(os.path.join(self.folder, "bin"))
        shutil.copytree(tree, os.path.join(self.folder, "kept"))
        shutil.rmtree(tree)
        self.follow(["cp -r ../kept/. ."] + ["export REGISTRY=registry"] + [change, out], variables)
        latest = ecs.describe_task_definition(taskDefinition="app")["taskDefinition"]
        self.assertEqual([container["name"] for container in latest["containerDefinitions"]], ["app"])
        self.assertNotIn("dependsOn", latest["containerDefinitions"][0])
        self.assertEqual(latest.get("volumes", []), [])

    def tokens(self, sidecar):
        """The sidecar gets the tokens that the control plane is given, and its task's execution role may read them."""
        task = self.client("ecs").describe_task_definition(taskDefinition="bowline-control")["taskDefinition"]
        control = secrets(task["containerDefinitions"][0])
        tokens, registration = control["BOWLINE_TOKEN"], control["BOWLINE_REGISTRATION_TOKEN_LIST"]
        self.assertEqual(
            secrets(sidecar), {"BOWLINE_CONTROL_TOKEN": tokens, "BOWLINE_REGISTER_TOKEN": f"{registration}:server::"}
        )
        policy = self.client("iam").get_role_policy(RoleName="app-execution", PolicyName="bowline-tokens")
        self.assertEqual(set(policy["PolicyDocument"]["Statement"][0]["Resource"]), {tokens, registration})
        kept = self.client("secretsmanager").get_secret_value(SecretId=registration)["SecretString"]
        self.assertRegex(json.loads(kept)["server"], "^[0-9a-f]{40}$")

    def images(self, control, latest):
        """Each image that a task wants has been pushed."""
        with open(self.notes, encoding="utf-8") as file:
            pushed = set(re.findall(r"^push (\S+)$", file.read(), re.M))
        task = self.client("ecs").describe_task_definition(taskDefinition=control)["taskDefinition"]
        wanted = {container["image"] for container in task["containerDefinitions"] + latest["containerDefinitions"][1:]}
        self.assertEqual(pushed, wanted)


if __name__ == "__main__":
    unittest.main()
