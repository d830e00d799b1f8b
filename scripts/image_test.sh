#!/bin/sh
# Builds both images without Docker, and runs what is in them: see tests/image. Wants root, for buildah's chroots.
# --twice builds each image again, and compares.
set -eu
cd "$(dirname "$0")/.."

die() { printf 'greenroom: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "buildah and debootstrap need root here: sudo make image-test"
missing=
for program in buildah debootstrap redis-server; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
if [ -n "$missing" ]; then
    command -v apt-get >/dev/null || die "install$missing, then try again"
    apt-get -qq update
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null
fi
sh scripts/setup.sh --dev
.venv/bin/greenroom fetch-livekit
exec .venv/bin/python -m tests.image "$@"
