#!/usr/bin/env bash
# install-debian.sh PACKAGE... : install the Debian packages that are missing.
#
# Nothing is downloaded, and root is not needed, when all of them are there. On a system
# without dpkg the packages are only named: how to get them is the reader's own matter.
set -euo pipefail

if ! command -v dpkg-query >/dev/null; then
  echo "not a Debian system; needed here: $*" >&2
  exit 0
fi

is_installed() {
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

missing=()
for package in "$@"; do
  is_installed "$package" || missing+=("$package")
done
((${#missing[@]})) || exit 0

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "missing packages; as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
# env, because sudo keeps no environment of ours
apt_get=(${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get -qq)

echo "installing from Debian: ${missing[*]}" >&2
# The package lists of a machine may be absent (a fresh container) or stale (404 on a version
# that is gone); both show as a failed install, and only then are they fetched.
if ! "${apt_get[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1; then
  "${apt_get[@]}" update
  "${apt_get[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null
fi
