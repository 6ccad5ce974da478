#!/usr/bin/env bash
# test.sh : what CI runs (`make test`). Every Swift test, then the interop tests.
#
# All stages run even when an earlier one failed, as far as they can (nothing runs what did not
# build); the last lines say how each ended. The output of each is kept under .run/test/.
set -uo pipefail
cd "$(dirname "$0")/.."

swift=${SWIFT:-swift}
logs=.run/test
rm -rf "$logs"
mkdir -p "$logs"
summary=()
failed=0

# stage NAME COMMAND... : run it, keep its output, note how it ended
stage() {
  local name=$1 start=$SECONDS status
  shift
  printf '\n=== %s\n' "$name"
  "$@" 2>&1 | tee "$logs/$name.log"
  status=${PIPESTATUS[0]}
  local verdict=passed
  if ((status != 0)); then
    verdict="FAILED ($logs/$name.log)"
    failed=1
  fi
  summary+=("$(printf '%-10s %5d s  %s' "$name" $((SECONDS - start)) "$verdict")")
  return "$status"
}

# note NAME PATTERN : add the lines of a stage's output that count its tests
note() {
  local line
  while read -r line; do
    summary+=("                    $line")
  done < <(grep -aE "$2" "$logs/$1.log" | tail -n 8)
}

prepare() {
  local packages
  mapfile -t packages < <(cat scripts/packages-build.txt scripts/packages-test.txt)
  scripts/install-debian.sh "${packages[@]}" &&
    scripts/require-swift.sh "$swift" &&
    scripts/venv.sh interop Tests/Interop/requirements.txt
}

# Everything, the server too, with the flags that `swift test` is then given (see the Makefile about
# testable imports), so that it finds nothing left to compile.
build() {
  "$swift" build -c release --build-tests
}
# Suites that talk to servers of their own within time limits.
with_peers='KeystoneAuthenticatorTests|KeystoneLimitsTests|Egress[A-Za-z]*Tests'
swift_tests() {
  # a hang is a failure too
  timeout 25m "$swift" test -c release --disable-testable-imports --filter UnitTests --skip "$with_peers"
}
# Apart from those, which keep both processors busy: fakes of services that have to be answered by within seconds.
contract_tests() {
  timeout 25m "$swift" test -c release --disable-testable-imports --filter "ContractTests|$with_peers"
}
# And whole servers, with thousands of requests.
api_tests() {
  timeout 25m "$swift" test -c release --disable-testable-imports --filter APITests
}
# By themselves as well: a million inputs keep both processors busy, and tests with time limits would meet theirs.
format_tests() {
  timeout 25m "$swift" test -c release --disable-testable-imports --filter "FormatTests|CompressionTests"
}
# By themselves: a simulated world keeps its thread from beginning to end, and tests with real clocks and
# connections beside it would wait for theirs.
simulation_tests() {
  timeout 40m "$swift" test -c release --disable-testable-imports --filter SimulationTests
}

# A full-size upload (8 GiB) where the machine has room for it, a smaller one elsewhere. The
# bound it must keep, on memory, is the same.
interop() {
  local gib=8 free_gib
  free_gib=$(($(df --output=avail -k "${TMPDIR:-/tmp}" | tail -n 1) / 1024 / 1024))
  if [[ ${CI:-} == true ]] || ((free_gib < 20)); then
    gib=2
  fi
  INTEROP_LARGE_GIB=$gib .venv/interop/bin/python -m pytest Tests/Interop
}

if stage prepare prepare && stage build build; then
  stage swift swift_tests
  note swift 'Test run with [0-9]+ test|Executed [1-9][0-9]* test'
  stage contract contract_tests
  note contract 'Test run with [0-9]+ test|Executed [1-9][0-9]* test'
  stage api api_tests
  note api 'Test run with [0-9]+ test|Executed [1-9][0-9]* test'
  stage formats format_tests
  note formats '^fuzz|Test run with [0-9]+ test'
  stage simulation simulation_tests
  note simulation '^(crash points|random lives|races|store|server): |Test run with [0-9]+ test'
  stage interop interop
  note interop 'peak resident|^=+ .*(passed|failed|error).* in '
fi

printf '\n=== summary\n'
printf '%s\n' "${summary[@]}"
if ((failed)); then
  echo "make test: FAILED"
  exit 1
fi
echo "make test: passed"
