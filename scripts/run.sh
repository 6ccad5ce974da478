#!/usr/bin/env bash
# run.sh : serve an empty cloud in the foreground, and say how to use it (`make run`).
#
#   DATA_DIR=DIR       keep the data there instead of in a new directory under .run/
#   LISTEN=HOST:PORT   listen there instead of on 127.0.0.1:9292
set -euo pipefail
cd "$(dirname "$0")/.."

binary=.build/release/ambrotype
if [[ -n ${DATA_DIR:-} ]]; then
  data=$(realpath -m "$DATA_DIR")
  mkdir -p "$data"
else
  mkdir -p .run
  data=$(realpath "$(mktemp -d .run/data-XXXXXX)")
fi

is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

listen=${LISTEN:-127.0.0.1:9292}
if [[ -z ${LISTEN:-} ]] && is_taken 9292; then
  echo "port 9292 is taken; choosing another" >&2
  listen=127.0.0.1:0
fi

first_steps=
if ! command -v openstack >/dev/null; then
  [[ -x .venv/interop/bin/openstack ]] || first_steps="  make clients     # the OpenStack clients, into .venv
"
  first_steps+="  export PATH=$PWD/.venv/interop/bin:\$PATH
"
fi

print_tour() { # print_tour URL
  cat <<TOUR

Ambrotype answers at $1
  data directory   $data
  credentials      $data/clouds.yaml
                   (cloud ambrotype: user demo; cloud ambrotype-admin: the administrator)

In another terminal, to try it:

  cd $PWD
${first_steps}  export OS_CLIENT_CONFIG_FILE=$data/clouds.yaml OS_CLOUD=ambrotype
  scripts/make-qcow2.sh .run/disk.qcow2   # a real disk image, or take one of your own
  openstack image create --disk-format qcow2 --container-format bare --file .run/disk.qcow2 first
  openstack image list
  openstack image set --property os_distro=debian --tag tried first
  openstack image show first
  openstack image save --file .run/copy.qcow2 first && cmp .run/disk.qcow2 .run/copy.qcow2
  openstack image delete first
  openstack --os-cloud ambrotype-admin project list

Stop with Ctrl-C. The data stays; to go on with it: DATA_DIR=$data make run

TOUR
}

# The server replaces this shell, so that Ctrl-C and signals reach it and nothing stands
# between. What it prints passes through a reader that knows when it is ready; the reader
# ends with the server, not with the Ctrl-C.
exec "$binary" serve --data-dir "$data" --listen "$listen" > >(
  trap '' INT
  while read -r line; do
    case $line in
      "ready "*) print_tour "${line#ready }" ;;
      *) printf '%s\n' "$line" ;;
    esac
  done
)
