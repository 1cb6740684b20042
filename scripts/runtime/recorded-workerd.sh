#!/bin/sh
# Miniflare runs this in workerd's place, so that the process id is on record before workerd can open the state.
# The pid and the start time stay the same across exec. Read back by workerd-record.ts.
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
# A terminal's Ctrl-C goes to everyone in its group. When workerd ends is for the runner to say, streams and worker first;
# an ignored signal stays ignored across exec.
trap '' INT HUP
exec "$LIGAND_WORKERD" "$@"
