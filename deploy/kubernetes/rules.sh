#!/bin/sh
# Print Prometheus's rules (alerts.yml and rules.yml of deploy/prometheus, or the files that are named), each as a
# PrometheusRule:
#   sh deploy/kubernetes/rules.sh | kubectl apply -f -
set -eu
folder=$(dirname "$0")/../prometheus
[ $# -gt 0 ] || set -- "$folder/alerts.yml" "$folder/rules.yml"
for file in "$@"; do
    [ -r "$file" ] || { printf 'greenroom: %s cannot be read\n' "$file" >&2; exit 1; }
    cat <<HEAD
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: greenroom-$(basename "$file" .yml)
  namespace: greenroom
spec:
HEAD
    sed 's/^/  /' "$file"
done
