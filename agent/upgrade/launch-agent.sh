#!/bin/sh
# launch-agent LIBRARY STATE_DIR [AGENT ARGUMENTS]
#
# Starts the agent of the wanted version, and takes an upgrade back that does not prove itself: docs/decisions/0013. It decides
# without running code of any version, and becomes the agent by exec. Builtins only on the plain way: a start pays for each fork.
set -u

library=$1
state=$2
shift 2
books=$state/agent/upgrade
deadline_s=${HEARTH_UPGRADE_DEADLINE_S:-30}
most_starts=3

say() {
  echo "hearth launch-agent: $*" >&2
}

# The words of a line of ours, in $first, $second, and so on; empty where there is no such file.
read_words() {
  first='' second='' third='' fourth=''
  if [ -f "$books/$1" ]; then read -r first second third fourth <"$books/$1" || :; fi
}

# Old bytes or new bytes, on the disk.
put() {
  mkdir -p "$books" && printf '%s\n' "$2" >"$books/$1.draft" && sync "$books/$1.draft" && mv "$books/$1.draft" "$books/$1" && sync "$books"
}

# Whoever writes the verdict first has decided; the candidate does the same (agent/upgrade/trial.ts).
reject() {
  say "$wanted is taken back: $1"
  printf '%s rejected %s\n' "$wanted" "$1" >"$books/verdict.$2" && sync "$books/verdict.$2"
  ln "$books/verdict.$2" "$books/verdict" 2>/dev/null
  rm -f "$books/verdict.$2"
  sync "$books"
  read_words verdict
  [ "$first $second" = "$wanted rejected" ]
}

# The directory of a version in $place.
find_version() {
  for place in "$library/versions/$1" "$library/kept/$1"; do
    [ -f "$place/agent.cjs" ] && return 0
  done
  return 1
}

run_agent() {
  node=$place/node
  [ -x "$node" ] || node=${HEARTH_NODE:-node}
  program=$place/start-agent.cjs
  [ -f "$program" ] || program=$place/agent.cjs
  export UV_THREADPOOL_SIZE="${UV_THREADPOOL_SIZE:-8}"
  exec "$node" --max-semi-space-size=1 "$program" --state-dir "$state" "$@"
}

# Field 22 of /proc/PID/stat in $ticks: with the pid it names the process, before and after its exec.
read_ticks() {
  ticks=''
  [ -r "/proc/$1/stat" ] && read -r line <"/proc/$1/stat" || return 1
  set -- ${line##*) }
  ticks=${20}
}

# Ends the candidate where it is not confirmed in time, whatever it does itself.
watch() {
  left=$1
  while [ "$left" -gt 0 ]; do
    sleep 1
    left=$((left - 1))
    read_ticks $$ 2>/dev/null && [ "$ticks" = "$own_ticks" ] || exit 0
    [ -f "$books/verdict" ] && exit 0
  done
  reject "not confirmed within $deadline_s s" watcher || exit 0
  read_ticks $$ 2>/dev/null && [ "$ticks" = "$own_ticks" ] && kill -9 $$
  exit 0
}

go_back() {
  find_version "$confirmed" || { say "$confirmed is gone, $wanted stays"; find_version "$wanted"; }
  export HEARTH_UPGRADE_REVERTED="$wanted"
  say "running $place"
  run_agent "$@"
}

cd -P "$library/current" || { say "$library/current leads to no version: install hearth again"; exit 69; }
wanted=${PWD##*/}
cd /
find_version "$wanted" || { say "$library/versions/$wanted holds no agent.cjs: install hearth again"; exit 69; }

read_words verdict
verdict_of=$first verdict=$second
read_words confirmed
confirmed=$first

if [ "$verdict_of" = "$wanted" ] && [ "$verdict" = rejected ] && [ -n "$confirmed" ]; then
  say "$wanted was taken back before; remove $books/verdict to try it again"
  go_back "$@"
fi
[ "$verdict_of" = "$wanted" ] && [ "$verdict" = confirmed ] && [ "$confirmed" != "$wanted" ] && put confirmed "$wanted" && confirmed=$wanted
[ "$confirmed" = "$wanted" ] && run_agent "$@"
if [ -z "$confirmed" ] || ! find_version "$confirmed"; then
  [ -z "$confirmed" ] || say "$confirmed is gone: there is nothing to go back to from $wanted"
  find_version "$wanted"
  put confirmed "$wanted"
  run_agent "$@"
fi

read -r now _ </proc/uptime
now=${now%.*}
read -r boot </proc/sys/kernel/random/boot_id
read_words trial
starts=0 since=$now
if [ "$first" = "$wanted" ]; then
  starts=$second
  [ "$third" = "$boot" ] && since=$fourth
fi
[ "$verdict_of" = "$wanted" ] || rm -f "$books/verdict"
left=$((deadline_s - (now - since)))
if [ "$starts" -ge "$most_starts" ]; then
  reject "ended $starts times before it was confirmed" launcher && go_back "$@"
elif [ "$left" -le 0 ]; then
  reject "not confirmed within $deadline_s s" launcher && go_back "$@"
fi
put trial "$wanted $((starts + 1)) $boot $since"
say "$wanted is on trial, start $((starts + 1)) of $most_starts, $left s left; $confirmed is there to go back to"
read_ticks $$
own_ticks=$ticks
(watch "$left" </dev/null &)
export HEARTH_UPGRADE_CANDIDATE="$wanted" HEARTH_UPGRADE_FROM="$confirmed"
find_version "$wanted"
run_agent "$@"
