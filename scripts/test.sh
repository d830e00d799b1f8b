#!/bin/sh
# Everything that has to pass, on a fresh machine too: style, types, import directions, tests.
# Arguments go to pytest. The first failure ends it.
set -eu
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

# install WHAT PACKAGE: what tests need from the system, where we may install it.
install() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        printf 'greenroom: %s is missing: install it (Debian: apt-get install %s)\n' "$1" "$2" >&2
        exit 1
    fi
    say "apt-get install $2"
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$2" >/dev/null
}

has_uv() { uv --version >/dev/null 2>&1 || [ -x .uv/bin/uv ]; }
has_venv() { python3 -c 'import ensurepip, venv' >/dev/null 2>&1; }

has_uv || has_venv || install "Python's venv" python3-venv
command -v redis-server >/dev/null || install redis-server redis-server
command -v caddy >/dev/null || install Caddy caddy
command -v prometheus >/dev/null && command -v promtool >/dev/null || install Prometheus prometheus
command -v alertmanager >/dev/null || command -v prometheus-alertmanager >/dev/null ||
    install Alertmanager prometheus-alertmanager
command -v chromium >/dev/null || install Chromium chromium

sh scripts/setup.sh --dev
say "livekit-server"
.venv/bin/greenroom fetch-livekit
# Beside each other: either leaves a processor idle for much of its time.
lint_output=$(mktemp)
sh scripts/lint.sh >"$lint_output" 2>&1 &
lint=$!
trap 'kill "$lint" 2>/dev/null || :; rm -f "$lint_output"' EXIT
trap 'exit 130' INT TERM  # a shell that a signal ends runs no EXIT trap
say "pages"
pages=0
{ sh scripts/frontend.sh && sh scripts/frontend.sh --check; } || pages=$?
linted=0
wait "$lint" || linted=$?
cat "$lint_output"
rm -f "$lint_output"
[ "$pages" = 0 ] || exit "$pages"
[ "$linted" = 0 ] || exit "$linted"
# Programs are started hundreds of times: each would compile all that it imports.
unset PYTHONDONTWRITEBYTECODE
NONE_CHOSEN=5
say "pytest: what is marked alone, with the machine to itself"
alone=0
.venv/bin/pytest -m alone "$@" || alone=$?
say "pytest: all others, two files at a time"
# Most of their time is sound that is played and heard as it is spoken.
others=0
.venv/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not alone" "$@" || others=$?
if [ "$alone" != 0 ] && [ "$alone" != "$NONE_CHOSEN" ]; then
    say "of those marked alone some failed: see further up"
    exit "$alone"
fi
# That ARGS chose none of one half is no failure; none of either is.
[ "$others" != "$NONE_CHOSEN" ] || exit "$alone"
exit "$others"
