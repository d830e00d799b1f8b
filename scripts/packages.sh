#!/bin/sh
# What tests and measurements need from the system: sh scripts/packages.sh redis prometheus
# Installs those that are missing, where it may; else says what to install, and ends with 1.
set -eu
cd "$(dirname "$0")/.."

# install WHAT PACKAGE
install() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        printf 'greenroom: %s is missing: install it (Debian: apt-get install %s)\n' "$1" "$2" >&2
        exit 1
    fi
    printf '\n== apt-get install %s\n' "$2"
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$2" >/dev/null
}

has() { command -v "$1" >/dev/null; }
has_uv() { uv --version >/dev/null 2>&1 || [ -x .uv/bin/uv ]; }
has_venv() { python3 -c 'import ensurepip, venv' >/dev/null 2>&1; }

for part; do
    case $part in
        python) has_uv || has_venv || install "Python's venv" python3-venv ;;
        redis) has redis-server || install redis-server redis-server ;;
        caddy) has caddy || install Caddy caddy ;;
        prometheus) { has prometheus && has promtool; } || install Prometheus prometheus ;;
        alertmanager) has alertmanager || has prometheus-alertmanager || install Alertmanager prometheus-alertmanager ;;
        chromium) has chromium || install Chromium chromium ;;
        *) printf 'greenroom: scripts/packages.sh knows no %s\n' "$part" >&2; exit 2 ;;
    esac
done
