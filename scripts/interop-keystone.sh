#!/usr/bin/env bash
# interop-keystone.sh [PYTEST OPTION...] : the interop tests with a real Keystone.
#
# PEER_LAB is the directory of the scripts that run the real services; its lib.sh says where
# they listen and what their password is. Not part of CI, which has no such lab.
#   INTEROP_IMAGE_URL=URL   test that image service instead of ours (the lab's Glance, say)
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ! -r $PEER_LAB/lib.sh ]]; then
  echo "no peer lab at '$PEER_LAB'; set PEER_LAB" >&2
  exit 1
fi
# In a subshell: the lab's settings must not become ours.
mapfile -t lab < <(. "$PEER_LAB/lib.sh" && printf '%s\n' "http://$HOST:$P_KEYSTONE/v3" "$LAB_PASSWORD")
export INTEROP_KEYSTONE_URL=${lab[0]} INTEROP_KEYSTONE_PASSWORD=${lab[1]}

if ! curl --silent --fail --noproxy '*' --output /dev/null "$INTEROP_KEYSTONE_URL"; then
  echo "no Keystone at $INTEROP_KEYSTONE_URL; start it: $PEER_LAB/up.sh" >&2
  exit 1
fi
exec .venv/interop/bin/python -m pytest Tests/Interop -m 'not slow' "$@"
