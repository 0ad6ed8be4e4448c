"""A stand-in for AWS (moto), and a hand on it (boto3): says where it listens, then does what each line of stdin says.

service NAMESPACE NAME | register SERVICE ID KEY=VALUE... | deregister SERVICE ID | health SERVICE ID STATUS
"""

import os
import sys

# Before boto3 looks for them: nothing here may reach the real AWS.
os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_CONFIG_FILE=os.devnull)

import boto3  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402


def main():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client("servicediscovery", region_name="eu-west-1", endpoint_url=endpoint)
    print(endpoint, flush=True)
    namespaces, services = {}, {}
    for line in sys.stdin:
        what, *words = line.split()
        if what == "service":
            namespace, name = words
            if namespace not in namespaces:
                client.create_http_namespace(Name=namespace)
                found = client.list_namespaces()["Namespaces"]
                namespaces[namespace] = next(n["Id"] for n in found if n["Name"] == namespace)
            made = client.create_service(Name=name, NamespaceId=namespaces[namespace], HealthCheckCustomConfig={})
            services[name] = made["Service"]["Id"]
        elif what == "register":
            attributes = dict(word.split("=", 1) for word in words[2:])
            client.register_instance(ServiceId=services[words[0]], InstanceId=words[1], Attributes=attributes)
        elif what == "deregister":
            client.deregister_instance(ServiceId=services[words[0]], InstanceId=words[1])
        elif what == "health":
            client.update_instance_custom_health_status(
                ServiceId=services[words[0]], InstanceId=words[1], Status=words[2]
            )
        else:
            raise ValueError(line)
        print("ok", flush=True)


main()
