#!/usr/bin/env bash
# Stops the control plane of a scratch folder. Usage: down.sh SCRATCH
set -euo pipefail

scratch=${1:?usage: down.sh SCRATCH}
for name in kwok kube-scheduler kube-controller-manager kube-apiserver etcd; do
    file=$scratch/$name.pid
    [ -f "$file" ] || continue
    pid=$(cat "$file")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 50); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
    rm -f "$file"
done
