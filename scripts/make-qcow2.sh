#!/usr/bin/env bash
# make-qcow2.sh FILE : write a real disk image, a qcow2 around an ext4 file system.
#
# The file system holds files of Debian packages that are on every machine (programs from
# /usr/bin, documents from /usr/share/doc), copied in by mke2fs, so neither root nor a mount
# is needed. Some 45 MiB of qcow2 with a virtual size of 256 MiB.
set -euo pipefail
out=$(realpath -m "$1")
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/sbin # where mke2fs is, for users who are not root

scripts/install-debian.sh qemu-utils e2fsprogs
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/tree/bin" "$work/tree/doc"
# Bounded, so that the image has the same size class on a bare machine and on a full desktop.
add_files() { # add_files FROM TO MEBIBYTES : smaller files of a directory, in name order
  local left=$(($3 * 1024 * 1024)) size path
  while read -r size path; do
    ((size < left)) || break
    left=$((left - size))
    cp -p "$path" "$2/"
  done < <(find "$1" -maxdepth 1 -type f -size -8M -readable -printf '%s %p\n' | sort -k 2)
}
add_files /usr/bin "$work/tree/bin" 48
cp -rL --preserve=timestamps /usr/share/doc/libc6 /usr/share/doc/bash /usr/share/doc/dpkg \
  "$work/tree/doc/" 2>/dev/null || true # minimal containers ship without documents
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$work/tree/passwd"

truncate --size 256M "$work/disk.raw"
mke2fs -q -F -t ext4 -L ambrotype -d "$work/tree" "$work/disk.raw"
qemu-img convert -f raw -O qcow2 "$work/disk.raw" "$work/disk.qcow2"
mkdir -p "$(dirname "$out")"
mv "$work/disk.qcow2" "$out"
