#!/bin/sh
# Makes .venv hold exactly what uv.lock says (with --dev: the tools for tests too; with --bench: also those for benchmarks). Quick when it does already.
set -eu
cd "$(dirname "$0")/.."

UV_VERSION=0.13.8
STAMP=.venv/.greenroom-synced
group=${1:-}

say() { printf '%s\n' "$*"; }
die() { printf 'greenroom: %s\n' "$*" >&2; exit 1; }

# The folder is part of it: programs in .venv name it, so a checkout that moved is set up again.
wanted="$(pwd) $(cat pyproject.toml uv.lock scripts/setup.sh | cksum)"

is_synced() {
    [ -x .venv/bin/greenroom ] && [ -f "$STAMP" ] || return 1
    found=$(cat "$STAMP")
    case $found in
        "$wanted --bench") return 0 ;;
        "$wanted --dev") [ "$group" != --bench ] ;;
        "$wanted ") [ -z "$group" ] ;;
        *) return 1 ;;
    esac
}

find_uv() {
    if uv --version >/dev/null 2>&1; then
        uv=uv
        return
    fi
    uv=.uv/bin/uv
    [ "$("$uv" --version 2>/dev/null | cut -d' ' -f2)" = "$UV_VERSION" ] || install_uv
}

install_uv() {
    command -v python3 >/dev/null || die "Python 3.11 or newer is missing: install python3 and python3-venv, then try again"
    say "installing uv $UV_VERSION into .uv, once …"
    if ! python3 -m venv .uv >/dev/null 2>&1; then
        rm -rf .uv
        die "python3 cannot make a virtual environment: install python3-venv (Debian: apt-get install python3-venv), or uv, then try again"
    fi
    .uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION" ||
        die "uv could not be installed: check the network, or install uv yourself (https://docs.astral.sh/uv), then try again"
}

is_synced && exit 0
find_uv
say "installing the Python packages of uv.lock into .venv …"
rm -f "$STAMP"
# A virtual environment that happens to be active, or a setting of uv's, must not lead elsewhere.
unset VIRTUAL_ENV
case $group in
    --bench) groups="--group bench" ;;
    --dev) groups= ;;
    *) groups=--no-dev ;;
esac
UV_PROJECT_ENVIRONMENT=.venv "$uv" sync --frozen --quiet $groups ||
    die "the Python packages could not be installed: see above"
printf '%s' "$wanted $group" >"$STAMP"
