"""Route 53 as moto plays it, behind a door that counts what passes, and can be told to turn requests away.

It says where the door is, then does what each line of stdin says, and answers each with one line of JSON.

create NAME private|public       the id of a new zone
destroy ID                       deletes the zone, which must have nothing but its own records
put ID NAME TYPE TTL VALUE       makes a record, or replaces it; VALUE is the rest of the line
delete ID NAME TYPE              takes it away
list ID                          {"NAME TYPE": [TTL, [values]]}
turn-away N                      the next N requests are answered as Route 53 answers when too much is asked
passed                           {"GET": requests that only read, "POST": changes} since the last time
"""

import json
import logging
import os
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Before boto3 looks for them: nothing here may reach the real AWS.
os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_CONFIG_FILE=os.devnull)

import boto3  # noqa: E402
import moto.route53.responses as answers  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402

# As Route 53 writes values. moto wraps them in CDATA, which the AWS SDK for Rust takes for nothing.
answers.LIST_RRSET_RESPONSE = answers.LIST_RRSET_RESPONSE.replace("<![CDATA[{{ resource }}]]>", "{{ resource|e }}")
assert "{{ resource|e }}" in answers.LIST_RRSET_RESPONSE

THROTTLED = b"""<?xml version="1.0"?>
<ErrorResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><Error><Type>Sender</Type><Code>Throttling</Code>
<Message>Rate exceeded</Message></Error><RequestId>1</RequestId></ErrorResponse>
"""


class Door(ThreadingHTTPServer):
    """Before moto."""

    daemon_threads = True

    def __init__(self, behind):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behind = behind
        self.lock = threading.Lock()
        self.away = 0
        self.passed = {"GET": 0, "POST": 0}

    def lets_in(self, method):
        """Counts a request. Whether it passes."""
        with self.lock:
            if self.away:
                self.away -= 1
                return False
            self.passed[method] += 1
            return True


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def handle_any(self):
        """Asks moto, and passes its answer on."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not self.server.lets_in(self.command):
            self.answer(400, "text/xml", THROTTLED)
            return
        kept = {name: value for name, value in self.headers.items()
                if name.lower() in ("authorization", "content-type", "host", "x-amz-date")}
        request = urllib.request.Request(self.server.behind + self.path, body or None, kept, method=self.command)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                self.answer(response.status, response.headers["content-type"], response.read())
        except urllib.error.HTTPError as error:
            self.answer(error.code, error.headers["content-type"], error.read())

    def answer(self, status, kind, body):
        """Sends one."""
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = handle_any

    def log_message(self, *_):
        """Nothing: the tests look at what came of it."""


class Hand:
    """What the lines of stdin say, done past the door."""

    def __init__(self, behind, door):
        self.client = boto3.client("route53", region_name="eu-west-1", endpoint_url=behind)
        self.door = door

    def records(self, zone):
        """All of them."""
        pages = self.client.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone)
        return [record for page in pages for record in page["ResourceRecordSets"]]

    def change(self, zone, action, record):
        """One change."""
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        self.client.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)

    def does(self, what, words):
        """Returns the answer."""
        if what == "create":
            name, kind = words.split()
            vpc = {"VPC": {"VPCRegion": "eu-west-1", "VPCId": "vpc-1"}} if kind == "private" else {}
            made = self.client.create_hosted_zone(
                Name=name, CallerReference=words,
                HostedZoneConfig={"PrivateZone": kind == "private", "Comment": "of a test"}, **vpc)
            return made["HostedZone"]["Id"].rpartition("/")[2]
        if what == "destroy":
            return bool(self.client.delete_hosted_zone(Id=words))
        if what == "put":
            zone, name, kind, ttl, value = words.split(maxsplit=4)
            self.change(zone, "UPSERT", {"Name": name, "Type": kind, "TTL": int(ttl), "ResourceRecords": [{"Value": value}]})
            return True
        if what == "delete":
            zone, name, kind = words.split()
            for record in self.records(zone):
                if (record["Name"].rstrip("."), record["Type"]) == (name, kind):
                    self.change(zone, "DELETE", record)
            return True
        if what == "list":
            return {f"{record['Name'].rstrip('.')} {record['Type']}":
                    [record["TTL"], [value["Value"] for value in record["ResourceRecords"]]]
                    for record in self.records(words)}
        with self.door.lock:
            if what == "turn-away":
                self.door.away = int(words)
                return True
            if what == "passed":
                passed, self.door.passed = self.door.passed, {"GET": 0, "POST": 0}
                return passed
        raise ValueError(what)


def main():
    """Until stdin ends."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    behind = f"http://{host}:{port}"
    door = Door(behind)
    threading.Thread(target=door.serve_forever, daemon=True).start()
    hand = Hand(behind, door)
    print(json.dumps(f"http://127.0.0.1:{door.server_port}"), flush=True)
    for line in sys.stdin:
        what, _, words = line.strip().partition(" ")
        print(json.dumps(hand.does(what, words)), flush=True)


main()
