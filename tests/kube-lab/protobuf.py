"""Writes providers/sandbox/src/kubernetes/protobuf.txt: how Kubernetes 1.36 writes its objects in protobuf.

usage: python3 tests/kube-lab/protobuf.py        (Go, and the modules that up.sh downloads)

Numbers and types stand in the generated.proto files of k8s.io/api and k8s.io/apimachinery; the names in JSON, which fields
stand in their parent there, and which may be absent, in the Go types beside them. One line for each message:

    apps.v1.DeploymentSpec 1:replicas:*i 2:selector:@meta.v1.LabelSelector 3:template:@core.v1.PodTemplateSpec

A type is `s` text, `b` bytes, `i` integer, `B` boolean, `d` number, `T` time, `D` duration, `Q` quantity, `I` integer or text,
`R` JSON, `@` a message; before it `*` where zero is said and not just absent, `[]` for a list, `{}` for a map from text. The
name `-` marks a message whose fields stand in its parent.
"""

import re
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE.parents[1] / "providers/sandbox/src/kubernetes/protobuf.txt"
GROUPS = (
    "admissionregistration/v1 apps/v1 authentication/v1 authorization/v1 autoscaling/v1 autoscaling/v2 batch/v1 certificates/v1 "
    "coordination/v1 core/v1 discovery/v1 events/v1 networking/v1 policy/v1 rbac/v1 scheduling/v1 storage/v1"
).split()
SCALARS = {"string": "s", "bytes": "b", "bool": "B", "double": "d", "int32": "i", "int64": "i", "uint32": "i", "uint64": "i"}
SPECIAL = {
    "meta.v1.Time": "T",
    "meta.v1.MicroTime": "T",
    "meta.v1.Duration": "D",
    "meta.v1.FieldsV1": "R",
    "api.resource.Quantity": "Q",
    "util.intstr.IntOrString": "I",
    "runtime.RawExtension": "R",
}


def module(name):
    found = subprocess.run(["go", "list", "-m", "-f", "{{.Dir}}", name], cwd=HERE, capture_output=True, text=True, check=True)
    return Path(found.stdout.strip())


def short(name):
    for prefix in ("k8s.io.api.", "k8s.io.apimachinery.pkg.apis.", "k8s.io.apimachinery.pkg."):
        name = name.removeprefix("." + prefix).removeprefix(prefix)
    return name


def go_fields(folder):
    """By struct and number: the name in JSON, `-` where the field stands in its parent, and whether it is a pointer."""
    found = {}
    for file in sorted(folder.glob("*types*.go")):
        struct = None
        for line in file.read_text().splitlines():
            if begun := re.match(r"type (\w+) struct", line):
                struct = begun[1]
            tag = re.search(r'^\s+(?:\w+\s+)?(\*|\[\]|map\[)?\S+\s+`.*?json:"([^"]*)".*?protobuf:"\w+,(\d+)', line)
            if struct and tag:
                name, *rest = tag[2].split(",")
                found[struct, int(tag[3])] = ("-" if "inline" in rest else name, tag[1] == "*")
    return found


def messages(folder):
    text = (folder / "generated.proto").read_text()
    package = short(re.search(r"^package (\S+);", text, re.M)[1])
    go = go_fields(folder)
    text = re.sub(r"//.*", "", text)
    for name, body in re.findall(r"^message (\w+) \{(.*?)^\}", text, re.M | re.S):
        fields = []
        for label, ty, _, number in re.findall(r"^\s*(?:(optional|repeated) )?(map<[^>]*>|[\w.]+) (\w+) = (\d+)", body, re.M):
            json, pointer = go.get((name, int(number)), (_, False))
            kind = "{}" if ty.startswith("map<") else "[]" if label == "repeated" else "*" if pointer else ""
            ty = ty.removeprefix("map<string,").rstrip(">").strip()
            if ty not in SCALARS and not ty.startswith("."):
                ty = f"{package}.{ty}"
            ty = short(ty)
            fields.append(f"{number}:{json}:{kind}{SCALARS.get(ty) or SPECIAL.get(ty) or '@' + ty}")
        yield f"{package}.{name}", fields


folders = [module("k8s.io/api") / group for group in GROUPS]
folders.append(module("k8s.io/apimachinery") / "pkg/apis/meta/v1")
known = dict(message for folder in folders for message in messages(folder))
lines = ["# Made by tests/kube-lab/protobuf.py from the types of Kubernetes 1.36; the grammar stands there."]
for name, fields in sorted(known.items()):
    if not name.endswith("List") and name not in SPECIAL:
        lines.append(" ".join([name, *fields]))
OUT.write_text("\n".join(lines) + "\n")
