#!/bin/sh
# Print the alerts (deploy/prometheus/alerts.yml, or the file that is named) as a PrometheusRule:
#   sh deploy/kubernetes/rules.sh | kubectl apply -f -
set -eu
rules=${1:-$(dirname "$0")/../prometheus/alerts.yml}
[ -r "$rules" ] || { printf 'greenroom: %s cannot be read\n' "$rules" >&2; exit 1; }
cat <<'HEAD'
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: greenroom
  namespace: greenroom
spec:
HEAD
sed 's/^/  /' "$rules"
