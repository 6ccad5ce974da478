#!/usr/bin/env bash
# venv.sh NAME REQUIREMENTS : make the Python environment .venv/NAME.
#
# Holds what the file REQUIREMENTS names, in the versions of Tests/Interop/constraints.txt.
# An environment made earlier from the same files is left alone, so a second run costs nothing.
# PYTHON names the interpreter to use; otherwise the first of Python 3.11 or later that can
# make environments is taken (Debian's own cannot before python3-venv is installed).
set -euo pipefail
cd "$(dirname "$0")/.."

name=$1 requirements=$2
constraints=Tests/Interop/constraints.txt
venv=.venv/$name

can_make_venvs() {
  "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3 python3.12 python3.13 /usr/bin/python3; do
    # a pyenv shim can exist for a version that is not switched on: only running it tells
    if command -v "$candidate" >/dev/null && can_make_venvs "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

wanted=$(sha256sum "$requirements" "$constraints" | sha256sum | cut -d ' ' -f 1)
if [[ -x $venv/bin/python && $(cat "$venv/.made-from" 2>/dev/null) == "$wanted" ]] &&
  "$venv/bin/python" -c '' 2>/dev/null; then
  exit 0
fi

if ! python=$(find_python); then
  scripts/install-debian.sh python3 python3-venv
  python=$(find_python) || {
    echo "no Python 3.11 or later with venv; set PYTHON=/path/to/python3" >&2
    exit 1
  }
fi

echo "making $venv with $python" >&2
rm -rf "$venv"
mkdir -p .venv
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --retries 5 \
  --requirement "$requirements" --constraint "$constraints"
echo "$wanted" >"$venv/.made-from"
