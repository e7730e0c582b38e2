"""The program from outside against moto: a network from its first to its last run, looked at with boto3.

usage: AWS_ENDPOINT_URL=http://127.0.0.1:PORT python3 tests/moto/network.py EPID        (Python with boto3)
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import boto3

EPID = Path(sys.argv[1]).resolve()
PROGRAM = """
[providers.aws]
type = "aws"
properties.region = "us-east-1"

[resources.network]
type = "epid:aws:Network"
[resources.network.properties]
name = "moto"
cidrBlock = "10.42.0.0/16"
zones = {zones}
natGateways = "{gateways}"
tags = {{ team = "{team}" }}

[outputs]
vpcId = "${{network.vpcId}}"
"""

os.environ.update(
    AWS_ACCESS_KEY_ID="moto", AWS_SECRET_ACCESS_KEY="moto", AWS_REGION="us-east-1", AWS_DEFAULT_REGION="us-east-1"
)
ec2 = boto3.client("ec2")
folder = Path(tempfile.mkdtemp())
(folder / "Epid.toml").write_text('name = "moto"\n')
(folder / "stacks").mkdir()


def declare(zones, gateways, team):
    text = PROGRAM.format(zones=zones, gateways=gateways, team=team)
    (folder / "stacks" / "net.toml").write_text(text)


def epid(line, code=0):
    ran = subprocess.run([EPID, *line.split()], cwd=folder, capture_output=True, text=True, check=False)
    said = f"$ epid {line}\n{ran.stdout}{ran.stderr}"
    assert ran.returncode == code, f"ended with {ran.returncode}, not {code}\n{said}"
    return ran.stdout


def up():
    epid("up --yes")
    epid("preview --expect-no-changes")
    epid("preview --expect-no-changes --refresh")
    epid("refresh --expect-no-changes")


def living(call, key, vpc, **more):
    filters = [{"Name": "vpc-id", "Values": [vpc]}]
    found = getattr(ec2, call)(Filters=filters, **more)[key]
    return [x for x in found if x.get("State") not in ("deleted", "deleting")]


def count(expected, got):
    assert len(got) == expected, f"{len(got)}, not {expected}: {json.dumps(got, default=str)}"


declare(2, "single", "one")
up()
vpc = epid("stack output vpcId").strip()
[seen] = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
assert seen["CidrBlock"] == "10.42.0.0/16", seen
assert {"Key": "team", "Value": "one"} in seen["Tags"], seen
count(4, living("describe_subnets", "Subnets", vpc))
count(1, living("describe_nat_gateways", "NatGateways", vpc))
routes = [r for t in living("describe_route_tables", "RouteTables", vpc) for r in t["Routes"]]
assert any(r.get("NatGatewayId") for r in routes) and any(r.get("GatewayId", "").startswith("igw-") for r in routes)

declare(3, "perZone", "two")
up()
assert epid("stack output vpcId").strip() == vpc, "the network was replaced"
count(6, living("describe_subnets", "Subnets", vpc))
count(3, living("describe_nat_gateways", "NatGateways", vpc))
[seen] = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
assert {"Key": "team", "Value": "two"} in seen["Tags"], seen

# Changed by somebody else, shown, put back.
ec2.delete_tags(Resources=[vpc], Tags=[{"Key": "team"}])
ec2.create_tags(Resources=[vpc], Tags=[{"Key": "team", "Value": "other"}])
assert "team" in epid("refresh --expect-no-changes", 3)
epid("up --yes --refresh")
[seen] = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
assert {"Key": "team", "Value": "two"} in seen["Tags"], seen
epid("preview --expect-no-changes --refresh")

epid("destroy --yes")
count(0, [v for v in ec2.describe_vpcs()["Vpcs"] if v["VpcId"] == vpc])
count(0, ec2.describe_addresses()["Addresses"])
count(0, [g for g in ec2.describe_internet_gateways()["InternetGateways"] if any(a["VpcId"] == vpc for a in g["Attachments"])])
print("moto: a network was made, changed, put back and destroyed")
