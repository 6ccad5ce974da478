#!/usr/bin/env bash
# contract-barbican.sh : the contract of key managers, against a real Barbican too (`make test-barbican`).
#
# Needs a running Barbican and its Keystone, with users demo, alt_demo (each member of a project of its name), glance
# (the service user, in project service) and admin, all in the domain Default and with one password. By default they
# are the lab's: PEER_LAB is the directory of its scripts. Another one:
#   AMBROTYPE_TEST_BARBICAN=URL AMBROTYPE_TEST_KEYSTONE=URL/v3 AMBROTYPE_TEST_PASSWORD=PASSWORD
# Grants glance the role member, inherited, on the domain Default, as an operator has to. Not part of CI, which has
# no such lab.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ -z ${AMBROTYPE_TEST_BARBICAN:-} ]]; then
  if [[ ! -r ${PEER_LAB:-}/lib.sh ]]; then
    echo "no peer lab at '${PEER_LAB:-}'; set PEER_LAB, or AMBROTYPE_TEST_BARBICAN and what goes with it" >&2
    exit 1
  fi
  # In a subshell: the lab's settings must not become ours.
  mapfile -t lab < <(. "$PEER_LAB/lib.sh" &&
    printf '%s\n' "http://$HOST:$P_BARBICAN" "http://$HOST:$P_KEYSTONE/v3" "$LAB_PASSWORD")
  AMBROTYPE_TEST_BARBICAN=${lab[0]} AMBROTYPE_TEST_KEYSTONE=${lab[1]} AMBROTYPE_TEST_PASSWORD=${lab[2]}
fi
export AMBROTYPE_TEST_BARBICAN AMBROTYPE_TEST_KEYSTONE AMBROTYPE_TEST_PASSWORD

for url in "$AMBROTYPE_TEST_BARBICAN" "$AMBROTYPE_TEST_KEYSTONE"; do
  # A Barbican answers 300 to a request for its versions.
  if ! curl --silent --fail --noproxy '*' --output /dev/null "$url"; then
    echo "nothing answers at $url; the lab is started with ${PEER_LAB:-LAB}/up.sh" >&2
    exit 1
  fi
done

openstack=.venv/interop/bin/openstack
[[ -x $openstack ]] || openstack=openstack
OS_AUTH_URL=$AMBROTYPE_TEST_KEYSTONE OS_IDENTITY_API_VERSION=3 OS_USERNAME=admin OS_PROJECT_NAME=admin \
  OS_PASSWORD=$AMBROTYPE_TEST_PASSWORD OS_USER_DOMAIN_ID=default OS_PROJECT_DOMAIN_ID=default \
  "$openstack" role add --user glance --user-domain Default --domain Default --inherited member

exec "${SWIFT:-swift}" test -c release --disable-testable-imports --filter 'KeyManagerContract' "$@"
