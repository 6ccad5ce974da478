#!/usr/bin/env bash
# fuzz.sh : feed each parser of disk image formats with what libFuzzer comes up with (`make fuzz`).
#
#   scripts/fuzz.sh [qcow2 vhd vhdx vmdk vdi iso gpt luks beginning]
#
# FUZZ_SECONDS: for all of them together, 3600 when not said. Corpora stay in .build/fuzz/ and are added to. An
# input that stops a parser is kept in Tests/Vectors/formats/, where a test tries it again from then on.
set -euo pipefail
cd "$(dirname "$0")/.."

swiftc=${SWIFTC:-swiftc}
targets=("$@")
((${#targets[@]})) || targets=(qcow2 vhd vhdx vmdk vdi iso gpt luks beginning)
seconds=$((${FUZZ_SECONDS:-3600} / ${#targets[@]}))
((seconds > 0)) || seconds=1
vectors=Tests/Vectors/formats
mkdir -p .build/fuzz "$vectors"

# seed TARGET DIRECTORY : small honest images, as the fuzzer's program lays them out
seed() {
  local image=$2/seed
  case $1 in
    qcow2)
      qemu-img create -q -f qcow2 "$image-3" 10M
      qemu-img create -q -f qcow2 -o compat=0.10 "$image-2" 10M
      ;;
    vhd) qemu-img create -q -f vpc "$image" 10M ;;
    vmdk)
      qemu-img create -q -f vmdk "$image-sparse" 10M
      qemu-img create -q -f vmdk -o subformat=streamOptimized "$image-stream" 10M
      ;;
    vdi) qemu-img create -q -f vdi "$image" 10M ;;
    luks) qemu-img create -q --object secret,id=s,data=s -f luks -o key-secret=s "$image" 1M ;;
    vhdx)
      qemu-img create -q -f vhdx "$image.whole" 10M
      {
        dd if="$image.whole" bs=16 skip=4096 count=5
        dd if="$image.whole" bs=256 skip=768 count=1
        dd if="$image.whole" bs=512 skip=4096 count=1
        dd if="$image.whole" bs=512 skip=4224 count=8
      } 2>/dev/null >"$image"
      rm "$image.whole"
      ;;
  esac
  # Of what follows the structures nothing is read.
  local file
  for file in "$2"/seed*; do
    if [[ -f $file && $1 != v* ]]; then truncate --size '<65536' "$file"; fi
  done
}

failed=0
for target in "${targets[@]}"; do
  binary=.build/fuzz/$target
  corpus=.build/fuzz/corpus-$target
  "$swiftc" -swift-version 6 -O -parse-as-library -sanitize=fuzzer -package-name ambrotype \
    -enable-upcoming-feature ExistentialAny -D "FUZZ_${target^^}" Sources/Formats/*.swift Fuzz/FuzzFormats.swift \
    -o "$binary"
  if [[ ! -d $corpus ]]; then
    mkdir "$corpus"
    seed "$target" "$corpus"
  fi
  printf '=== %s, for %d s\n' "$target" "$seconds"
  if ! SWIFT_BACKTRACE=enable=no "$binary" -max_total_time="$seconds" -max_len=70000 -timeout=10 \
    -artifact_prefix="$vectors/$target-" -print_final_stats=1 "$corpus" >".build/fuzz/$target.log" 2>&1; then
    failed=1
    tail -n 20 ".build/fuzz/$target.log"
  fi
  grep -aE '^(stat::number_of_executed_units|#[0-9]+.*DONE)' ".build/fuzz/$target.log" || true
done
if ((failed)); then
  echo "make fuzz: FAILED (inputs in $vectors)"
  exit 1
fi
echo "make fuzz: passed"
