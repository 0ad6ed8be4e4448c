"""Looks at and changes a private zone of Route 53 (boto3, which finds moto by its environment).

    zone.py create NAME             prints the zone's id
    zone.py put ID NAME ADDRESS     an A record that is nobody's but ours
    zone.py delete ID NAME
    zone.py list ID                 prints {"NAME TYPE": [values]} as JSON
"""

import json
import sys

import boto3


def records(client, zone):
    """All of them."""
    pages = client.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone)
    return [record for page in pages for record in page["ResourceRecordSets"]]


def main():
    """Does one of these."""
    client = boto3.client("route53")
    what, *rest = sys.argv[1:]
    if what == "create":
        made = client.create_hosted_zone(
            Name=rest[0], CallerReference=rest[0], HostedZoneConfig={"PrivateZone": True, "Comment": "of the test"},
            VPC={"VPCRegion": "eu-west-1", "VPCId": "vpc-1"})
        print(made["HostedZone"]["Id"].rpartition("/")[2])
    elif what == "put":
        record = {"Name": rest[1], "Type": "A", "TTL": 5, "ResourceRecords": [{"Value": rest[2]}]}
        client.change_resource_record_sets(
            HostedZoneId=rest[0], ChangeBatch={"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]})
    elif what == "delete":
        for record in records(client, rest[0]):
            if record["Name"].rstrip(".") == rest[1] and record["Type"] == "A":
                client.change_resource_record_sets(
                    HostedZoneId=rest[0], ChangeBatch={"Changes": [{"Action": "DELETE", "ResourceRecordSet": record}]})
    else:
        print(json.dumps({f"{record['Name'].rstrip('.')} {record['Type']}":
                          [value["Value"] for value in record.get("ResourceRecords", [])]
                          for record in records(client, rest[0])}))


if __name__ == "__main__":
    main()
