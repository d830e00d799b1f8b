#!/bin/sh
# Everything that has to pass, on a fresh machine too: style, types, import directions, tests.
# Arguments go to pytest. The first failure ends it.
set -eu
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

sh scripts/packages.sh python redis caddy prometheus alertmanager chromium
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
