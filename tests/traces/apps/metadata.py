"""ECS's task metadata, version 4, of a task on Fargate. It prints {"ports": [port]}; the base is http://127.0.0.1:PORT/v4/ID."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ARN = "arn:aws:ecs:eu-west-1:123456789012"
TASK = f"{ARN}:task/shop/0a1b2c3d4e5f60718293a4b5c6d7e8f9"
CLUSTER = f"{ARN}:cluster/shop"
CONTAINER_ID = "0a1b2c3d4e5f60718293a4b5c6d7e8f9-1234567890"
CONTAINER = {
    "DockerId": CONTAINER_ID, "Name": "bowline", "DockerName": "bowline", "Image": "bowline:1", "ImageID": "sha256:00",
    "Labels": {"com.amazonaws.ecs.cluster": CLUSTER, "com.amazonaws.ecs.container-name": "bowline",
               "com.amazonaws.ecs.task-arn": TASK, "com.amazonaws.ecs.task-definition-family": "web",
               "com.amazonaws.ecs.task-definition-version": "7"},
    "DesiredStatus": "RUNNING", "KnownStatus": "RUNNING", "Type": "NORMAL", "ContainerARN": f"{ARN}:container/shop/0a1b/c",
    "Networks": [{"NetworkMode": "awsvpc", "IPv4Addresses": ["127.0.0.1"]}],
}
OTHER = {**CONTAINER, "DockerId": "ffff", "Name": "web", "DockerName": "web"}
PAGE = {
    "Cluster": CLUSTER, "TaskARN": TASK, "Family": "web", "Revision": "7", "ServiceName": "web", "LaunchType": "FARGATE",
    "DesiredStatus": "RUNNING", "KnownStatus": "RUNNING", "AvailabilityZone": "eu-west-1a", "Containers": [OTHER, CONTAINER],
}
# What it comes to, in the words of the semantic conventions.
RESOURCE = {
    "cloud.provider": "aws", "cloud.platform": "aws_ecs", "cloud.region": "eu-west-1", "cloud.account.id": "123456789012",
    "cloud.availability_zone": "eu-west-1a", "aws.ecs.cluster.arn": CLUSTER, "aws.ecs.task.arn": TASK,
    "aws.ecs.task.family": "web", "aws.ecs.task.revision": "7", "aws.ecs.launchtype": "fargate",
    "container.id": CONTAINER_ID, "container.name": "bowline",
}


class Page(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self):
        page = {"/v4/ID": CONTAINER, "/v4/ID/task": PAGE}.get(self.path.rstrip("/"))
        body = json.dumps(page or {}).encode()
        self.send_response(200 if page else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    """Serves until stdin ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"ports": [server.server_address[1]]}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
