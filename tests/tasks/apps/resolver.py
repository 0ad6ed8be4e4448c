"""A VPC's resolver: `resolver.py ADDRESS FILE MOTO`, UDP and TCP on port 53.

FILE is JSON, read at each question: {records: {name: address}, zone: the id of a private zone or null}. The zone's records
are those that Route 53 has at the moment, by its API at the URL MOTO. Every other name is not there.
"""

import json
import re
import socket
import socketserver
import struct
import sys
import threading
import urllib.request
import xml.etree.ElementTree as xml
from pathlib import Path

import dns

TTL = 1
# moto looks in it for the service that is meant, and at nothing else.
AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/route53/aws4_request, SignedHeaders=host, Signature=0"


def zone_records(moto, zone):
    """{(name, type): [values]} of a zone."""
    found, query = {}, ""
    while True:
        url = f"{moto}/2013-04-01/hostedzone/{zone}/rrset{query}"
        request = urllib.request.Request(url, headers={"authorization": AUTHORIZATION})
        with urllib.request.urlopen(request, timeout=5) as response:
            # Without its namespace, which differs from page to page.
            page = xml.fromstring(re.sub(rb'xmlns="[^"]*"', b"", response.read()))
        for record in page.iter("ResourceRecordSet"):
            key = record.findtext("Name").rstrip(".").lower().replace("\\052", "*"), record.findtext("Type")
            found[key] = [value.text for value in record.iter("Value")]
        if page.findtext("IsTruncated") != "true":
            return found
        query = f"?name={page.findtext('NextRecordName')}&type={page.findtext('NextRecordType')}"


def answer(data, file, moto):
    """The answer to a message."""
    number, name, kind, asked = dns.question(data)
    known = json.loads(file.read_text())
    there, addresses = False, []
    if name in known["records"]:
        there, addresses = True, [known["records"][name]]
    elif known["zone"]:
        records = zone_records(moto, known["zone"])
        there = any(one == name for one, _ in records)
        addresses = records.get((name, "A"), [])
    if kind != dns.A:
        addresses = []
    return dns.reply(number, asked, dns.NOERROR if there else dns.NXDOMAIN, addresses, TTL)


def main():
    """Serves until killed."""
    address, file, moto = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((address, 53))

    class Stream(socketserver.BaseRequestHandler):
        """One connection over TCP."""

        def handle(self):
            with self.request.makefile("rwb") as stream:
                while len(size := stream.read(2)) == 2:
                    out = answer(stream.read(struct.unpack(">H", size)[0]), file, moto)
                    stream.write(struct.pack(">H", len(out)) + out)
                    stream.flush()

    def one(data, peer):
        try:
            udp.sendto(answer(data, file, moto), peer)
        except (OSError, ValueError, IndexError, xml.ParseError) as error:
            print(f"{peer}: {error!r}", file=sys.stderr, flush=True)  # no answer: it is asked again

    tcp = socketserver.ThreadingTCPServer((address, 53), Stream)
    threading.Thread(target=tcp.serve_forever, daemon=True).start()
    print("up", flush=True)
    while True:
        data, peer = udp.recvfrom(4096)
        threading.Thread(target=one, args=(data, peer), daemon=True).start()


if __name__ == "__main__":
    main()
