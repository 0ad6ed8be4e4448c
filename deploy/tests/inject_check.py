#!/usr/bin/env python3
"""What `bowline inject` writes, judged by others: botocore's validation, moto's RegisterTaskDefinition and cfn-lint.

    inject_check.py --bowline PATH [--proxy PATH] [--cfn-lint PATH]

One line a check; exit 1 if one fails. It needs boto3, moto, PyYAML and cfn-lint, as in the virtual environment of tests/run.
With --proxy, bowline-proxy must know each variable that a sidecar is given, and start with them.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

os.environ.update(
    AWS_ACCESS_KEY_ID="test",
    AWS_SECRET_ACCESS_KEY="test",
    AWS_DEFAULT_REGION="eu-central-1",
    AWS_EC2_METADATA_DISABLED="true",
)

import boto3  # noqa: E402
import botocore.session  # noqa: E402
import yaml  # noqa: E402
from botocore.exceptions import ParamValidationError  # noqa: E402
from botocore.validate import validate_parameters  # noqa: E402
from moto import mock_aws  # noqa: E402

SAMPLES = pathlib.Path(__file__).parent / "inject"
CONTROL = [
    "--control",
    "http://control.internal:18000",
    "--namespace",
    "hello-world.com",
    "--image",
    "r/bowline-proxy:1",
]
INIT = ["--init-image", "r/bowline-init:1"]

SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:bowline"
TOKENS = [
    "--secret",
    f"BOWLINE_CONTROL_TOKEN={SECRET}/token-AbCdEf",
    "--secret",
    f"BOWLINE_REGISTER_TOKEN={SECRET}/registration-GhIjKl:server::",
]

# Each way through inject that ends in a task definition: the sample, what is changed in it first, and the flags.
TASKS = [
    ("Fargate", "fargate.json", {}, ["--register", "server=9001,health=/health/ready"]),
    (
        "Fargate, forward proxy, secrets",
        "fargate.json",
        {},
        ["--mode", "forward-proxy", *TOKENS],
    ),
    (
        "Fargate, low ports and a seed",
        "fargate.json",
        {},
        ["--mesh", "mesh.yaml", "--mesh-path", "/seed/mesh.yaml", "--cpu", "64"],
    ),
    ("Fargate, redirected by ECS", "fargate.json", {}, ["--mode", "appmesh"]),
    ("EC2, redirect", "fargate.json", {"requiresCompatibilities": ["EC2"]}, ["--mode", "redirect", *INIT]),
    (
        "EC2, redirect with DNS",
        "fargate.json",
        {"requiresCompatibilities": ["EC2"]},
        ["--mode", "dns", *INIT, "--vip-range", "127.254.0.0/16"],
    ),
    ("EC2 without a size", "fargate.json", {"requiresCompatibilities": ["EC2"], "cpu": None, "memory": None}, []),
    ("what was described", "described.json", {}, []),
    ("App Mesh taken over", "appmesh.json", {}, ["--replace-envoy"]),
]

# What the proxy's log says when it serves.
READY = "bowline-proxy is up"

failures = 0


def check(name, problem):
    """Says how a check went: `problem` is empty if well."""
    global failures
    failures += bool(problem)
    print(f"{'FAILED' if problem else 'ok'}  {name}" + (f": {problem}" if problem else ""), flush=True)


def inject(bowline, path, *flags):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BOWLINE_")}
    return subprocess.run(
        [bowline, "inject", str(path), *flags], cwd=SAMPLES, env=environment, capture_output=True, text=True
    )


def without_nothing(value):
    """botocore takes no nulls, which the CLI leaves out."""
    if isinstance(value, dict):
        return {key: without_nothing(inner) for key, inner in value.items() if inner is not None}
    return [without_nothing(inner) for inner in value] if isinstance(value, list) else value


def registrable(text):
    """What is in the file, without the key that the sample has to show that unknown ones stay."""
    task = without_nothing(json.loads(text))
    for container in task["containerDefinitions"]:
        container.pop("x-ours", None)
    return task


def fault_of(task, shape):
    """What botocore has against it."""
    try:
        validate_parameters(task, shape)
    except ParamValidationError as error:
        return str(error)
    return ""


def ecs_rules(task):
    """What ECS itself would refuse, and neither botocore nor moto looks at."""
    containers = {container["name"]: container for container in task["containerDefinitions"]}
    volumes = {volume["name"] for volume in task.get("volumes", [])}
    problems = []
    if len(containers) != len(task["containerDefinitions"]):
        problems.append("two containers of one name")
    for name, container in containers.items():
        for dependency in container.get("dependsOn", []):
            other = containers.get(dependency["containerName"])
            if other is None:
                problems.append(f"{name} depends on {dependency['containerName']}, which isn't there")
            elif dependency["condition"] == "HEALTHY" and "healthCheck" not in other:
                problems.append(f"{name} waits for the health of {other['name']}, which has no check")
            elif dependency["condition"] in ("SUCCESS", "COMPLETE") and other.get("essential", True):
                problems.append(f"{name} waits for the end of {other['name']}, which is essential")
        problems += [
            f"{name} mounts {mount['sourceVolume']}, which isn't there"
            for mount in container.get("mountPoints", [])
            if mount["sourceVolume"] not in volumes
        ]
        if not 2 <= container.get("stopTimeout", 30) <= 120:
            problems.append(f"{name}: stopTimeout")
        health = container.get("healthCheck")
        if health and not (
            5 <= health["interval"] <= 300
            and 2 <= health["timeout"] <= 60
            and 1 <= health["retries"] <= 10
            and 0 <= health["startPeriod"] <= 300
        ):
            problems.append(f"{name}: health check out of range")
        if container.get("memoryReservation", 0) >= container.get("memory", 1 << 30):
            problems.append(f"{name}: memory must be greater than memoryReservation")
        if task.get("memory") is None and not container.get("memory") and not container.get("memoryReservation"):
            problems.append(f"{name} has no memory, and neither has the task")
        added = container.get("linuxParameters", {}).get("capabilities", {}).get("add", [])
        if "FARGATE" in task.get("requiresCompatibilities", []) and set(added) - {"SYS_PTRACE"}:
            problems.append(f"{name}: Fargate gives no {added}")
    if not any(
        container.get("essential", True) for name, container in containers.items() if not name.startswith("bowline")
    ):
        problems.append("no app container is essential")
    waits = {
        name: {dependency["containerName"] for dependency in container.get("dependsOn", [])}
        for name, container in containers.items()
    }
    while ready := [name for name, others in waits.items() if not others]:
        for name in ready:
            del waits[name]
        for others in waits.values():
            others.difference_update(ready)
    if waits:
        problems.append(f"a ring of dependencies: {sorted(waits)}")
    return "; ".join(problems)


def tasks(bowline, folder):
    shape = (
        botocore.session.get_session().get_service_model("ecs").operation_model("RegisterTaskDefinition").input_shape
    )
    # A validator that takes everything would prove nothing.
    check(
        "botocore refuses what is wrong",
        "" if fault_of({"family": "x", "containerDefinitions": [{"name": 1}]}, shape) else "it took it",
    )
    for name, sample, change, flags in TASKS:
        task = json.loads((SAMPLES / sample).read_text())
        task.update(change)
        path = folder / sample
        path.write_text(json.dumps({key: value for key, value in task.items() if value is not None}, indent=2))
        outcome = inject(bowline, path, *CONTROL, *flags)
        if outcome.returncode != 0:
            check(name, outcome.stderr.strip())
            continue
        made = registrable(outcome.stdout)
        check(f"{name}: botocore", fault_of(made, shape))
        check(f"{name}: rules of ECS", ecs_rules(made))
        with mock_aws():
            registers(bowline, folder, name, made, flags)


def registers(bowline, folder, name, made, flags):
    """Registers it, and goes on from what is described then, as a user would."""
    ecs = boto3.client("ecs")
    try:
        ecs.register_task_definition(**made)
        described = ecs.describe_task_definition(taskDefinition=made["family"], include=["TAGS"])
    except Exception as error:  # noqa: BLE001: whatever it is, it is the outcome of the check
        check(f"{name}: moto registers it", repr(error))
        return
    check(
        f"{name}: moto registers it", "" if described["taskDefinition"]["revision"] == 1 else "not the first revision"
    )
    described.pop("ResponseMetadata")
    path = folder / "described.json"
    path.write_text(json.dumps(described, indent=4, default=str))
    again = inject(bowline, path, *CONTROL, *flags)
    problem = again.stderr.strip() if again.returncode else ""
    if not problem:
        remade = registrable(again.stdout)
        sidecars = [
            [one for one in task["containerDefinitions"] if one["name"] == "bowline"] for task in (made, remade)
        ]
        # moto fills keys in when it describes; what inject writes must be what it wrote before.
        if sidecars[0] != sidecars[1]:
            problem = f"another sidecar: {sidecars[1]}"
        else:
            ecs.register_task_definition(**remade)
    check(f"{name}: once more, from what is described then", problem)
    removed = inject(bowline, path, "--remove")
    if "--replace-envoy" in flags:
        check(
            f"{name}: is not removed in silence", "" if removed.returncode == 2 else f"exit code {removed.returncode}"
        )
    else:
        check(
            f"{name}: removed from what is described then",
            removed.stderr.strip() if removed.returncode else "bowline is left" if '"bowline' in removed.stdout else "",
        )


def starts(proxy, bowline, folder):
    """The sidecar's own program, started with what inject tells it."""
    known = set(
        re.findall(
            r"\[env: (BOWLINE_\w+)", subprocess.run([proxy, "run", "--help"], capture_output=True, text=True).stdout
        )
    )
    # What can't be had on this machine, or is taken already.
    instead = {
        "BOWLINE_STATE_DIR": str(folder),
        "BOWLINE_MESH": str(SAMPLES / "alone.yaml"),
        "BOWLINE_WRITE_HOSTS": str(folder / "hosts"),
        "BOWLINE_DNS": "127.0.0.1:0",
        "BOWLINE_INBOUND": "127.0.0.1:0",
        "BOWLINE_DNS_UPSTREAM": "192.0.2.53:53",
    }
    made = [(name, sample, change, [*CONTROL, *flags]) for name, sample, change, flags in TASKS]
    made.append(("Fargate, alone", "fargate.json", {}, ["--image", "x", "--mesh", "alone.yaml"]))
    for name, sample, change, flags in made:
        task = json.loads((SAMPLES / sample).read_text())
        task.update(change)
        path = folder / sample
        path.write_text(json.dumps({key: value for key, value in task.items() if value is not None}))
        containers = {
            one["name"]: one for one in json.loads(inject(bowline, path, *flags).stdout)["containerDefinitions"]
        }
        sidecar = containers["bowline"]
        if "bowline-init" in containers:
            # Printed, the rules need no rights.
            rules = subprocess.run(
                [proxy, *containers["bowline-init"]["command"], "--print", "--backend", "nft"],
                capture_output=True,
                text=True,
            )
            check(f"{name}: the rules of the init container", rules.stderr.strip() if rules.returncode else "")
        variables = {one["name"]: one["value"] for one in sidecar["environment"]}
        # ECS takes their values from elsewhere.
        variables.update({one["name"]: "a-token" for one in sidecar.get("secrets", [])})
        starts_with(proxy, name, variables, known, instead)
    for flags in (
        ["--mesh", "alone.yaml"],
        ["--mode", "dns", "--env", "BOWLINE_DNS_UPSTREAM=192.0.2.53"],
        ["--mode", "forward-proxy"],
    ):
        outcome = inject(
            bowline, SAMPLES / "compose.yaml", "--app", "web", *([] if "--mesh" in flags else CONTROL), *flags
        )
        sidecar = yaml.safe_load(outcome.stdout)["services"]["web-bowline"]
        starts_with(proxy, f"compose {' '.join(flags[:2])}", sidecar["environment"], known, instead)


def starts_with(proxy, name, variables, known, instead):
    """Runs it until it says that it is ready, and stops it."""
    unknown = [variable for variable in variables if variable.startswith("BOWLINE_") and variable not in known]
    check(f"{name}: the proxy knows the variables", f"not {', '.join(unknown)}" if unknown else "")
    own = {variable: instead.get(variable, value) for variable, value in variables.items()}
    own.update(
        BOWLINE_ADMIN="127.0.0.1:0", BOWLINE_OUTBOUND="127.0.0.1:0", BOWLINE_LOG_FORMAT="json", PATH=os.environ["PATH"]
    )
    process = subprocess.Popen([proxy, "run"], env=own, stderr=subprocess.PIPE, text=True)
    # Without a control plane it is ready after five seconds; ten times that is time enough.
    watchdog = threading.Timer(50, process.kill)
    watchdog.start()
    lines = []
    for line in process.stderr:
        lines.append(line.strip())
        if READY in line:
            process.send_signal(signal.SIGTERM)
    code = process.wait()
    watchdog.cancel()
    check(
        f"{name}: the proxy starts",
        "" if code == 0 and any(READY in line for line in lines) else f"exit code {code}: {' '.join(lines)}",
    )


def templates(bowline, folder, lint):
    for name in ("template.yaml", "template.json"):
        clean = subprocess.run([lint, str(SAMPLES / name)], capture_output=True, text=True)
        check(f"cfn-lint takes the sample {name}", clean.stdout.strip() or clean.stderr.strip())
        for flags in (
            ["--register", "server=8001"],
            ["--mode", "forward-proxy"],
            ["--mode", "appmesh"],
            ["--low-ports", "--memory", "256"],
        ):
            path = folder / name
            outcome = inject(bowline, SAMPLES / name, *CONTROL, *flags)
            path.write_text(outcome.stdout)
            linted = subprocess.run([lint, str(path)], capture_output=True, text=True)
            problem = outcome.stderr if outcome.returncode else linted.stdout.strip() if linted.returncode else ""
            check(f"cfn-lint, {name} {' '.join(flags)}", problem)
    outcome = inject(
        bowline, SAMPLES / "template.json", *CONTROL, "--mode", "redirect", "--init-image", '{"Ref": "Image"}'
    )
    (folder / "redirect.json").write_text(outcome.stdout)
    linted = subprocess.run([lint, str(folder / "redirect.json")], capture_output=True, text=True)
    check("cfn-lint, template.json --mode redirect", outcome.stderr if outcome.returncode else linted.stdout.strip())
    # And that it would say so.
    broken = (folder / "template.json").read_text().replace('"HEALTHY"', '"HEALTHIER"')
    (folder / "broken.json").write_text(broken)
    check(
        "cfn-lint refuses what is wrong",
        "" if subprocess.run([lint, str(folder / "broken.json")], capture_output=True).returncode else "it took it",
    )


def compose(bowline):
    """YAML as another reader sees it."""
    for name, flags in (("compose.yaml", ["--mesh", "mesh.yaml"]), ("compose_dns.yaml", ["--mode", "forward-proxy"])):
        outcome = inject(bowline, SAMPLES / name, *CONTROL, "--app", "web", *flags)
        if outcome.returncode:
            check(f"compose, {name}", outcome.stderr.strip())
            continue
        before, after = yaml.safe_load((SAMPLES / name).read_text()), yaml.safe_load(outcome.stdout)
        sidecar = after["services"].pop("web-bowline")
        problem = (
            ""
            if sidecar["network_mode"] == "service:web"
            and all(isinstance(value, str) for value in sidecar["environment"].values())
            else str(sidecar)
        )
        for service in (before, after):
            service["services"]["web"].pop("environment", None)
        check(f"compose, {name}", problem or ("" if before == after else "something else has changed"))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--bowline", required=True, type=pathlib.Path)
    arguments.add_argument("--proxy", type=pathlib.Path)
    beside = pathlib.Path(sys.executable).with_name("cfn-lint")
    arguments.add_argument("--cfn-lint", default=str(beside) if beside.exists() else shutil.which("cfn-lint"))
    given = arguments.parse_args()
    bowline = given.bowline.resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        tasks(bowline, folder)
        compose(bowline)
        if given.proxy:
            starts(given.proxy.resolve(), bowline, folder)
        if given.cfn_lint:
            templates(bowline, folder, given.cfn_lint)
        else:
            check("cfn-lint", "it is not installed")
    print(f"{failures} failed" if failures else "all passed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
