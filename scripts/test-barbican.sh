#!/usr/bin/env bash
# test-barbican.sh [PYTEST OPTION...] : the scenarios of keys with a real Keystone and a real Barbican.
#
# Our image service runs with `identity.mode: keystone` and `keys.mode: barbican`. PEER_LAB is the directory of the
# scripts that run the real services; its lib.sh says where they listen and what their password is. Not part of
# CI, which has no such lab.
#   INTEROP_IMAGE_URL=URL   test that image service instead of ours (the lab's Glance, say): a check of the tests
#   KEY_TESTS="FILE…"       other files than the scenarios, for instance test_castellan.py
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ! -r $PEER_LAB/lib.sh ]]; then
  echo "no peer lab at '$PEER_LAB'; set PEER_LAB" >&2
  exit 1
fi
# In a subshell: the lab's settings must not become ours.
mapfile -t lab < <(. "$PEER_LAB/lib.sh" &&
  printf '%s\n' "http://$HOST:$P_KEYSTONE/v3" "$LAB_PASSWORD" "http://$HOST:$P_BARBICAN")
export INTEROP_KEYSTONE_URL=${lab[0]} INTEROP_KEYSTONE_PASSWORD=${lab[1]} INTEROP_KEY_MANAGER_URL=${lab[2]}

for url in "$INTEROP_KEYSTONE_URL" "$INTEROP_KEY_MANAGER_URL"; do
  if ! curl --silent --noproxy '*' --output /dev/null "$url"; then
    echo "nobody at $url; start the lab: $PEER_LAB/up.sh" >&2
    exit 1
  fi
done
read -ra names <<<"${KEY_TESTS:-test_shared_keys.py test_luks.py test_cursive.py test_barbican_outages.py}"
exec .venv/interop/bin/python -m pytest "${names[@]/#/Tests/Interop/}" -m 'not slow' "$@"
