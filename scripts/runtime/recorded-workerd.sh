#!/bin/sh
# Miniflare runs this script instead of workerd. It records the process before workerd opens the state.
# The pid and the start time stay the same across exec. workerd-record.ts reads the record.
set -eu
{
  echo "$$"
  if [ -r "/proc/$$/stat" ]; then
    cat /proc/sys/kernel/random/boot_id "/proc/$$/stat"
  else
    echo ps
    ps -o stat= -o lstart= -p "$$"
  fi
} >"$LIGAND_WORKERD_RECORD.new"
mv "$LIGAND_WORKERD_RECORD.new" "$LIGAND_WORKERD_RECORD"
# A terminal sends Ctrl-C to its whole process group. The runner must end streams and the worker first, and then workerd, so
# workerd ignores these signals. An ignored signal stays ignored across exec.
trap '' INT HUP
exec "$LIGAND_WORKERD" "$@"
