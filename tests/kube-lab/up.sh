#!/usr/bin/env bash
# Starts a real Kubernetes control plane on free loopback ports and prints the path of an administrator's kubeconfig.
# Usage: up.sh [SCRATCH]     SCRATCH: the folder for data, logs and process ids; default: a new temporary one.
#        up.sh --build       only builds the programs, kubectl among them, and prints the folder they are in.
# EPID_KUBE_LAB_CACHE: where the programs are built; default ${XDG_CACHE_HOME:-$HOME/.cache}/epid-kube-lab.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${EPID_KUBE_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/epid-kube-lab}
bin=$cache/bin
version=v1.36.3
if [ "${1:-}" = --build ]; then
    only_build=yes
    shift
fi
scratch=${1:-$(mktemp -d "${TMPDIR:-/tmp}/epid-kube-lab.XXXXXX")}
mkdir -p "$scratch"
scratch=$(cd "$scratch" && pwd)

say() { printf '%s\n' "$*" >&2; }

# Says what went wrong, with the last lines of the log in question, and takes down what was started.
fail() {
    say "kube-lab: $1"
    if [ -n "${2:-}" ] && [ -f "$2" ]; then
        say "--- the end of $2"
        tail -n 25 "$2" >&2
    fi
    "$here/down.sh" "$scratch" >&2 || true
    exit 1
}

for tool in go curl openssl; do
    command -v "$tool" >/dev/null || { say "kube-lab: needs \`$tool\` on the path"; exit 1; }
done

build() {
    local stamp wanted ld kwok
    wanted=$(cat "$here/go.mod" "$here/go.sum" | openssl dgst -sha256 -r | cut -d' ' -f1)
    stamp=$cache/built-from
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    say "kube-lab: building etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok and kubectl (once, some ten minutes)"
    mkdir -p "$bin" "$cache/stages"
    rm -f "$stamp"
    ld="-s -w -X k8s.io/component-base/version.gitVersion=$version"
    ld="$ld -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
    (cd "$here" && go build -ldflags "$ld" -o "$bin/" go.etcd.io/etcd/server/v3 k8s.io/kubernetes/cmd/kube-apiserver \
        k8s.io/kubernetes/cmd/kube-controller-manager k8s.io/kubernetes/cmd/kube-scheduler k8s.io/kubernetes/cmd/kubectl sigs.k8s.io/kwok/cmd/kwok) \
        >"$cache/build.log" 2>&1 || fail "the build failed" "$cache/build.log"
    mv "$bin/server" "$bin/etcd"
    kwok=$(cd "$here" && go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)
    cp "$kwok"/kustomize/stage/node/fast/node-*.yaml "$kwok"/kustomize/stage/pod/fast/pod-*.yaml "$cache/stages/"
    chmod u+w "$cache"/stages/*
    printf '%s' "$wanted" >"$stamp"
}

# Prints a port nothing listens on. Two calls may race for one; a server that loses says so in its log.
used=" "
free_port() {
    local port
    for _ in $(seq 200); do
        port=$((20000 + (RANDOM % 20000)))
        case "$used" in *" $port "*) continue ;; esac
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            used="$used$port "
            reply=$port
            return
        fi
    done
    fail "found no free port on the loopback interface"
}

# start NAME PROGRAM ARGUMENTS...: runs it in the background with its log and process id in the scratch folder.
start() {
    local name=$1
    shift
    setsid "$@" >"$scratch/$name.log" 2>&1 </dev/null &
    echo $! >"$scratch/$name.pid"
}

alive() { kill -0 "$(cat "$scratch/$1.pid")" 2>/dev/null; }

# wait_for NAME SECONDS COMMAND...: until the command succeeds, while NAME runs.
wait_for() {
    local name=$1 seconds=$2 until
    shift 2
    until=$((SECONDS + seconds))
    while ! "$@" >/dev/null 2>&1; do
        alive "$name" || fail "$name ended" "$scratch/$name.log"
        [ $SECONDS -lt $until ] || fail "$name was not ready after $seconds s" "$scratch/$name.log"
        sleep 0.2
    done
}

build
if [ -n "${only_build:-}" ]; then
    rmdir "$scratch" 2>/dev/null || true
    printf '%s\n' "$bin"
    exit 0
fi

free_port && etcd_client=$reply
free_port && etcd_peer=$reply
free_port && api=$reply
free_port && manager=$reply
free_port && scheduler=$reply
free_port && kwok_port=$reply

token=$(openssl rand -hex 16)
url=https://127.0.0.1:$api
kubeconfig=$scratch/kubeconfig
umask 077
printf '%s,admin,admin,"system:masters"\n' "$token" >"$scratch/tokens.csv"
openssl genrsa -out "$scratch/sa.key" 2048 2>/dev/null
openssl rsa -in "$scratch/sa.key" -pubout -out "$scratch/sa.pub" 2>/dev/null

start etcd "$bin/etcd" --data-dir "$scratch/etcd" --unsafe-no-fsync \
    --listen-client-urls "http://127.0.0.1:$etcd_client" --advertise-client-urls "http://127.0.0.1:$etcd_client" \
    --listen-peer-urls "http://127.0.0.1:$etcd_peer" --initial-advertise-peer-urls "http://127.0.0.1:$etcd_peer" \
    --initial-cluster "default=http://127.0.0.1:$etcd_peer"
wait_for etcd 30 curl -sf "http://127.0.0.1:$etcd_client/health"

start kube-apiserver "$bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd_client" \
    --bind-address 127.0.0.1 --advertise-address 127.0.0.1 --secure-port "$api" --cert-dir "$scratch/certs" \
    --token-auth-file "$scratch/tokens.csv" --authorization-mode RBAC --allow-privileged \
    --service-account-key-file "$scratch/sa.pub" --service-account-signing-key-file "$scratch/sa.key" \
    --service-account-issuer https://kubernetes.default.svc --service-cluster-ip-range 10.0.0.0/24
wait_for kube-apiserver 90 curl -skf -H "Authorization: Bearer $token" "$url/readyz"

cat >"$kubeconfig" <<CONFIG
apiVersion: v1
kind: Config
current-context: lab
contexts: [{name: lab, context: {cluster: lab, user: admin}}]
clusters: [{name: lab, cluster: {server: "$url", certificate-authority: "$scratch/certs/apiserver.crt"}}]
users: [{name: admin, user: {token: $token}}]
CONFIG

start kube-controller-manager "$bin/kube-controller-manager" --kubeconfig "$kubeconfig" \
    --authentication-kubeconfig "$kubeconfig" --authorization-kubeconfig "$kubeconfig" --bind-address 127.0.0.1 \
    --secure-port "$manager" --cert-dir "$scratch/manager-certs" --leader-elect=false \
    --service-account-private-key-file "$scratch/sa.key" --use-service-account-credentials
start kube-scheduler "$bin/kube-scheduler" --kubeconfig "$kubeconfig" --authentication-kubeconfig "$kubeconfig" \
    --authorization-kubeconfig "$kubeconfig" --bind-address 127.0.0.1 --secure-port "$scheduler" \
    --cert-dir "$scratch/scheduler-certs" --leader-elect=false

stages=()
for stage in "$cache"/stages/*.yaml "$here"/stages/*.yaml; do
    stages+=(--config "$stage")
done
start kwok "$bin/kwok" --kubeconfig "$kubeconfig" --manage-all-nodes --server-address "127.0.0.1:$kwok_port" "${stages[@]}"

as_admin() { curl -skf -H "Authorization: Bearer $token" "$@"; }
node_ready() { as_admin "$url/api/v1/nodes/lab-0" | tr -d ' \n' | grep -q '"status":"True","type":"Ready"\|"type":"Ready","status":"True"'; }

wait_for kube-controller-manager 30 curl -skf "https://127.0.0.1:$manager/healthz"
wait_for kube-scheduler 30 curl -skf "https://127.0.0.1:$scheduler/healthz"
wait_for kube-controller-manager 30 as_admin "$url/api/v1/namespaces/default/serviceaccounts/default"
as_admin -o /dev/null -H 'Content-Type: application/json' --data-binary "@$here/node.json" "$url/api/v1/nodes" ||
    fail "the node could not be created" "$scratch/kube-apiserver.log"
wait_for kwok 30 node_ready

say "kube-lab: ready; stop it with: $here/down.sh $scratch"
printf '%s\n' "$kubeconfig"
