#!/usr/bin/env bash
# torture.sh : break the service on purpose, at length (`make torture`). Every part runs, whatever came of
# the others; the last lines are the figures of docs/measurements.md. The parts can be named:
#
#   scripts/torture.sh crash-points random key-crash-points key-random races calls kills
#
# TORTURE_SEEDS, TORTURE_KILLS: other numbers than 10,000 and 200.
set -uo pipefail
cd "$(dirname "$0")/.."

swift=${SWIFT:-swift}
logs=.run/torture
mkdir -p "$logs"
parts=("$@")
((${#parts[@]})) || parts=(calls races crash-points key-crash-points random key-random kills)
"$swift" build -c release --product torture || exit 1
torture=.build/release/torture
failed=0

# part NAME COMMAND... : run it, keep what it says
part() {
  local name=$1
  shift
  printf '\n=== %s\n' "$name"
  "$@" 2>&1 | tee "$logs/$name.log"
  ((PIPESTATUS[0] == 0)) || failed=1
}

for name in "${parts[@]}"; do
  case $name in
    crash-points) part crash-points "$torture" crash-points --length 3 --recovery-length 2 ;;
    random) part random "$torture" random --seeds "${TORTURE_SEEDS:-10000}" --operations 1000 ;;
    key-crash-points) part key-crash-points "$torture" crash-points --keys --length 2 --recovery-length 1 ;;
    key-random) part key-random "$torture" random --keys --seeds "${TORTURE_SEEDS:-10000}" --operations 1000 ;;
    races) part races "$torture" races --histories 10000 ;;
    calls) part calls "$torture" calls ;;
    kills)
      part kills .venv/interop/bin/python Tests/Interop/kill_torture.py --kills "${TORTURE_KILLS:-200}"
      ;;
    *)
      echo "no part '$name': crash-points, random, key-crash-points, key-random, races, calls, kills" >&2
      exit 64
      ;;
  esac
done

printf '\n=== figures\n'
for name in "${parts[@]}"; do printf '%-17s %s\n' "$name" "$(tail -n 1 "$logs/$name.log")"; done
if ((failed)); then
  echo "make torture: FAILED"
  exit 1
fi
echo "make torture: passed"
