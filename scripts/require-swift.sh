#!/usr/bin/env bash
# require-swift.sh COMMAND : stop with a useful message when there is no Swift toolchain.
set -euo pipefail
if ! command -v "$1" >/dev/null; then
  echo "no Swift toolchain: '$1' is not on PATH. Ambrotype needs Swift 6.3 or later," >&2
  echo "see https://www.swift.org/install/linux/ (or: make SWIFT=/path/to/swift …)" >&2
  exit 1
fi
