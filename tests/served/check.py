"""`epid sandbox serve` as people meet it: with aws, boto3 and kubectl.

usage: python3 tests/served/check.py EPID        (Python with boto3; `aws` and `kubectl` on the path)
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EPID = Path(sys.argv[1]).resolve()
ROOT = Path(__file__).resolve().parents[2]
folder = Path(tempfile.mkdtemp())
shutil.copy(ROOT / "Epid.toml", folder)
shutil.copytree(ROOT / "stacks", folder / "stacks")

# Nothing of the person who runs this: no profiles, no clusters, no proxies.
env = {"PATH": os.environ["PATH"], "HOME": str(folder), "AWS_PAGER": "", "AWS_EC2_METADATA_DISABLED": "true"}
done = 0


def run(line, code=0, says=(), stdin=None):
    """Runs a line of a shell; fails unless it ends with `code` and its output holds every text of `says`."""
    global done
    ran = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=env, capture_output=True, text=True, input=stdin, timeout=300, check=False
    )
    said = ran.stdout + ran.stderr
    assert ran.returncode == code, f"$ {line}\n{said}\nended with {ran.returncode}, not {code}"
    for text in [says] if isinstance(says, str) else says:
        assert text in said, f"$ {line}\n{said}\ndoes not say {text!r}"
    done += 1
    return ran.stdout


def epid(line, code=0, says=()):
    return run(f"{EPID} {line}", code, says)



def refused(line, *says):
    """Runs a line that has to fail and say why."""
    ran = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    said = ran.stdout + ran.stderr
    assert ran.returncode != 0, f"$ {line}\n{said}\nsucceeded"
    for text in says:
        assert text in said, f"$ {line}\n{said}\ndoes not say {text!r}"


def until(what, seconds, check):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.3)


epid("up --all --sandbox --yes")

log = open(folder / "serve.log", "w")
server = subprocess.Popen(
    [EPID, "sandbox", "serve", "--port", "0", "--json"], cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT
)
try:
    until("the sandbox is served", 30, lambda: "\n" in (folder / "serve.log").read_text())
    serving = json.loads((folder / "serve.log").read_text().splitlines()[0])
    assert serving["event"] == "serving", serving
    env.update(serving["environment"])
    account = "000000000000"

    # The aws CLI.
    name = "healthmapidha"
    run("aws sts get-caller-identity", says=f"arn:aws:iam::{account}:user/sandbox")
    run("aws eks list-clusters", says=name)
    cluster = json.loads(run(f"aws eks describe-cluster --name {name}"))["cluster"]
    assert cluster["status"] == "ACTIVE" and cluster["endpoint"].startswith(serving["clusters"]), cluster
    run(f"aws eks wait cluster-active --name {name}")
    [profile] = json.loads(run(f"aws eks list-fargate-profiles --cluster-name {name}"))["fargateProfileNames"]
    run(f"aws eks describe-fargate-profile --cluster-name {name} --fargate-profile-name {profile}", says="ACTIVE")
    run(f"aws eks describe-addon --cluster-name {name} --addon-name coredns", says="ACTIVE")
    run(f"aws eks list-access-entries --cluster-name {name}", says="podExecutionRole")
    run(f"aws eks list-nodegroups --cluster-name {name}", says='"nodegroups": []')
    refused("aws eks describe-cluster --name nope", "ResourceNotFoundException", "No cluster found for name: nope")
    refused(f"aws eks create-nodegroup --cluster-name {name} --nodegroup-name n --subnets a --node-role b", "(NotSimulated)")
    vpc = json.loads(run("aws ec2 describe-vpcs"))["Vpcs"][0]["VpcId"]
    of_vpc = f"--filters Name=vpc-id,Values={vpc}"
    assert len(json.loads(run(f"aws ec2 describe-subnets {of_vpc}"))["Subnets"]) == 4
    run("aws ec2 describe-nat-gateways", says="available")
    run(f"aws ec2 describe-route-tables {of_vpc}", says=["0.0.0.0/0", "NatGatewayId"])
    run(f"aws ec2 describe-security-groups {of_vpc}", says="eks-cluster-sg")
    run("aws ec2 describe-instances", says='"Reservations": []')
    refused("aws ec2 describe-vpcs --vpc-ids vpc-0123456789abcdef0", "InvalidVpcID.NotFound")
    refused("aws ec2 run-instances --image-id ami-1", "(NotSimulated)")
    role = json.loads(run("aws iam list-roles"))["Roles"][0]["RoleName"]
    run(f"aws iam get-role --role-name {role}", says="sts:AssumeRole")
    run("aws iam list-policies --scope Local", says="loadBalancers-policy")
    run("aws iam list-open-id-connect-providers", says="oidc-provider/oidc.eks.us-east-1.amazonaws.com/id/")
    run("aws elbv2 describe-load-balancers", says=["k8s-default-curatord", "active"])
    for other in ["s3 ls", "ecr describe-repositories", "logs describe-log-groups", "cloudformation describe-stacks"]:
        refused(f"aws {other}", "(NotSimulated)", "the sandbox does not simulate")

    # kubectl with the token that `aws eks get-token` signs, as the runbook of a real cluster says.
    env["KUBECONFIG"] = str(folder / "kubeconfig")
    run(f"aws eks --region us-east-1 update-kubeconfig --name {name}", says="Added new context")
    run("kubectl get deploy,svc,ingress,pods -A", says=["curator-dev", "aws-load-balancer-controller", "elb.amazonaws.com"])
    run("kubectl get deployments", says=["curator-prod   1/1", "data-dev       1/1"])
    run("kubectl get services", says=["NodePort", "ClusterIP", "kubernetes"])
    run("kubectl get secrets", says=["data-prod", "curator-dev"])
    run("kubectl get pods -l app=data,environment=dev -o wide", says="Running")
    run("kubectl get nodes", says="fargate-ip-")
    run("kubectl rollout restart deployment/curator-dev", says="restarted")
    run("kubectl rollout restart deployment/data-dev")
    run("kubectl rollout status deployment/curator-dev --timeout=120s", says="successfully rolled out")
    run("kubectl scale deployment/data-dev --replicas=3", says="scaled")
    run("kubectl wait deployment/data-dev --for=jsonpath='{.status.availableReplicas}'=3 --timeout=120s")
    run("kubectl describe ingress curator-dev", says="Ingress Class:    alb")
    run("kubectl describe deployment curator-dev", says="NewReplicaSet")
    run("kubectl get deploy curator-dev -o yaml", says="image: healthmapidha/curatorservice:latest")
    run("kubectl api-resources", says=["deployments", "targetgroupbindings"])
    run("kubectl explain deployment.spec.replicas", says="FIELD: replicas <integer>")
    run("kubectl auth can-i create deployments", says="yes")
    run("timeout 5 kubectl get pods -w", code=124, says="curator-dev")
    refused("kubectl logs deploy/curator-dev", "the sandbox runs no containers")
    manifest = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "nginx:1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""
    (folder / "web.yaml").write_text(manifest)
    run("kubectl apply -f web.yaml", says=["deployment.apps/web created", "service/web created"])
    run("kubectl rollout status deployment/web --timeout=120s")
    run("kubectl apply -f web.yaml", says=["deployment.apps/web unchanged"])
    (folder / "web.yaml").write_text(manifest.replace("replicas", "replicaz").replace("nginx:1", "nginx:2"))
    run("kubectl diff -f web.yaml", code=1, says="nginx:2")
    run("kubectl apply -f web.yaml", says="deployment.apps/web configured")
    run("kubectl delete -f web.yaml", says="deleted")
    for made in [
        "namespace shop",
        "deployment shop --image=nginx:1 --replicas=2 --port=80 -n shop",
        "configmap settings --from-literal=a=b -n shop",
        "secret generic login --from-literal=password=x -n shop",
        "serviceaccount runner -n shop",
        "role reader --verb=get --resource=pods -n shop",
        "rolebinding reads --role=reader --serviceaccount=shop:runner -n shop",
        "job once --image=busybox:1 -n shop",
        "cronjob nightly --image=busybox:1 --schedule='0 3 * * *' -n shop",
        "service clusterip shop --tcp=80:8080 -n shop",
        "ingress shop --rule=example.com/=shop:80 -n shop",
        "quota most --hard=pods=50 -n shop",
        "poddisruptionbudget shop --selector=app=shop --min-available=1 -n shop",
    ]:
        run(f"kubectl create {made}", says="created")
    run("kubectl autoscale deployment shop --min=1 --max=3 -n shop", says="autoscaled")
    run("kubectl get secret login -n shop -o jsonpath='{.data.password}'", says="eA==")
    run("kubectl get ingress,svc,job,cronjob,pdb,hpa -n shop", says=["example.com", "80/TCP", "nightly"])
    run("kubectl create token runner -n shop")
    run("kubectl set image deployment/shop nginx=nginx:2 -n shop", says="image updated")
    run("kubectl expose deployment shop --name=again --port=80 -n shop", says="exposed")
    run("kubectl delete namespace shop", says="deleted")
    run("kubectl run curl --image=radial/busyboxplus:curl", says="pod/curl created")
    run("kubectl delete pod curl", says="deleted")
    [config] = [c["kubeconfig"] for c in serving["kubeconfigs"]]
    run(f"kubectl --kubeconfig {config} get ns", says="kube-system")

    # epid itself, while the world is served.
    epid("sandbox serve --port 0", 4, [str(server.pid), "sandbox serve"])
    epid("sandbox reset --yes", 4, str(server.pid))
    epid("refresh --stack dev --sandbox --expect-no-changes", 3, "spec.replicas")
    epid("up --stack dev --sandbox --yes --refresh")
    run("kubectl get deploy data-dev", says="data-dev   1/1")
    epid("up --all --sandbox --yes", says="no changes")

    # boto3.
    os.environ.update(serving["environment"])
    import boto3
    from botocore.exceptions import ClientError

    def error(call, **params):
        try:
            call(**params)
        except ClientError as failed:
            return failed.response["Error"]["Code"]
        raise AssertionError(f"{call} succeeded")

    quick = {"Delay": 1, "MaxAttempts": 120}
    ec2, iam, eks = (boto3.client(service) for service in ["ec2", "iam", "eks"])
    own = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    ec2.get_waiter("vpc_available").wait(VpcIds=[own], WaiterConfig=quick)
    ec2.modify_vpc_attribute(VpcId=own, EnableDnsHostnames={"Value": True})
    subnets = [
        ec2.create_subnet(VpcId=own, CidrBlock=f"10.9.{n}.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
        for n, zone in enumerate(["us-east-1a", "us-east-1b"])
    ]
    ec2.get_waiter("subnet_available").wait(SubnetIds=subnets, WaiterConfig=quick)
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=own)
    group = boto3.resource("ec2").Vpc(own).create_security_group(GroupName="web", Description="web")
    group.authorize_ingress(IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0")
    assert error(ec2.delete_vpc, VpcId=own) == "DependencyViolation"
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
    made = iam.create_role(RoleName="other", AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    assert made["AssumeRolePolicyDocument"] == trust, made
    iam.attach_role_policy(RoleName="other", PolicyArn="arn:aws:iam::aws:policy/AmazonEKSClusterPolicy")
    assert error(iam.delete_role, RoleName="other") == "DeleteConflict"
    time.sleep(1)
    eks.create_cluster(name="other", roleArn=made["Arn"], resourcesVpcConfig={"subnetIds": subnets})
    eks.get_waiter("cluster_active").wait(name="other", WaiterConfig=quick)
    later = folder / ".epid" / "sandbox" / "kubeconfig-other"
    until("the new cluster has a kubeconfig", 10, later.exists)
    until("the new cluster answers", 10, lambda: subprocess.run(["kubectl", "--kubeconfig", later, "get", "ns"], env=env, capture_output=True, check=False).returncode == 0)
    eks.delete_cluster(name="other")
    eks.get_waiter("cluster_deleted").wait(name="other", WaiterConfig=quick)
    until("the kubeconfig is gone", 10, lambda: not later.exists())
finally:
    server.send_signal(signal.SIGINT)
    code = server.wait(20)
assert code == 0, f"serve ended with {code}: {(folder / 'serve.log').read_text()}"

# What happened while it was served is there afterwards.
epid("preview --all --sandbox --expect-no-changes")
epid("destroy --all --sandbox --yes")
epid("sandbox reset --yes")
shutil.rmtree(folder)
print(f"served: {done} commands of aws, kubectl and epid, and boto3's calls, did what they should")
