# shellcheck shell=sh
# shellcheck disable=SC2015 # "a && b || fail": fail ends the shell, so it is an if-then-else
# AUREON's operator on the host: POSIX sh, and what Debian has installed before anything else.
#
# Every change goes through one of the functions below, and each of them writes down how it is
# taken back before it changes anything, so that the way back is known after a crash at any point.
# A run has a directory of its own in /var/lib/aureon-operator/journal:
#
#   about     who began it, when, for which application, what it does
#   log       one line an event: seconds since 1970, begin | done | failed | back (taken back), the
#             step, and " ;", without which a line was not written whole and does not count
#   said      what the steps printed
#   undo/N    shell that takes change N back; there before the change is
#   kept/N    what was there before change N: content, mode, owner, times, links
#   left/N    ways back that were not gone, because somebody else had changed the file
#   finished  the run came to its end, or what was unfinished of it has been taken back
#   undoing   the whole run is being taken back
#
# N counts from 10001, so that names sort by themselves. The shell in undo/N is a promise: a later
# prelude has to know the functions it calls (restore, restore_mode, unmake_dir, put_time_back,
# purge_packages, remove_leftover).
set -eu
# Behind `if`, `&&` or `||` a shell goes on after what fails, whatever it was told; a step must not.
(
  trap 'exit 0' EXIT
  false
  trap - EXIT
  exit 3
)
if [ $? -eq 3 ]; then
  echo "this script must run by itself, not in a condition" >&2
  exit 1
fi

# Paths below are the host's own. A test, or somebody curious, sets this to a directory.
AUREON_ROOT=${AUREON_ROOT-}
AUREON_STATE=$AUREON_ROOT/var/lib/aureon-operator
AUREON_AUDIT=$AUREON_ROOT/var/log/aureon-operator.log
AUREON_RUN=${AUREON_RUN-}
AUREON_STEP=
# Who does this, for people; and what tells his lock from that of others.
AUREON_WHO=${AUREON_WHO-"${SUDO_USER:-$(id -un)} by hand"}
AUREON_TOKEN=${AUREON_TOKEN-$$}
# A holder of the lock who has been silent for so many seconds, and has no step running, is gone.
AUREON_PATIENCE=60

# What is written here may be secret until `put` says otherwise.
umask 077
# Messages of programs that are looked at are English, and sorting is by byte.
LC_ALL=C
export LC_ALL
# What an administrator has on the path, a command over ssh may not have.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH
# A lost connection does not end a step in its middle.
trap '' HUP PIPE

# ---- Words

# say TEXT: to whoever watches. Nobody may be watching any more, and that stops nothing.
say() {
  printf '%s\n' "$*" 2>/dev/null || :
}

# fail TEXT: says why and ends the step, which is then taken back.
fail() {
  printf 'error: %s\n' "$*" >&2 2>/dev/null || :
  exit 1
}

# quoted TEXT: as one word of shell, whatever is in it.
quoted() {
  printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"
}

# plain_path PATH: absolute, of letters that mean nothing to a shell, and without "..": other paths
# come from a mistake.
plain_path() {
  case $1 in
    *[!A-Za-z0-9._/@:+,=-]* | */../* | */.. | *//* | */) fail "not a path for this: $1" ;;
    /?*) ;;
    *) fail "not an absolute path: $1" ;;
  esac
}

# ---- What is there

# look PATH: one line; two things have the same line only if they are the same. Times are left out,
# because what is about to be written has none yet.
look() {
  if [ -L "$1" ]; then
    printf 'link %s\n' "$(readlink "$1")"
  elif [ -f "$1" ]; then
    printf 'file %s %s\n' "$(stat -c '%a %u:%g' "$1")" "$(sha256sum <"$1")"
  elif [ -d "$1" ]; then
    printf 'directory %s %s\n' "$(stat -c '%a %u:%g' "$1")" "$(look_inside "$1" | sha256sum)"
  elif [ -e "$1" ]; then
    printf 'special %s\n' "$(stat -c '%F %a %u:%g %t:%T' "$1")"
  else
    printf 'nothing\n'
  fi
}

# look_inside DIRECTORY: everything below it: names, kinds, modes, owners, links, then content.
look_inside() {
  find "$1" -mindepth 1 -printf '%P\t%y\t%m\t%U:%G\t%l\0' | sort -z
  find "$1" -type f -printf '%P\0' | sort -z | (cd "$1" && xargs -0 -r sha256sum --)
}

# time_of DIRECTORY: when something was last added to it or removed, and a sum of the names in it.
time_of() {
  printf '%s %s\n' "$(stat -c %.9Y "$1")" \
    "$(find "$1" -mindepth 1 -maxdepth 1 -printf '%f\0' | sort -z | sha256sum | cut -c 1-16)"
}

# ---- The journal

# note EVENT STEP …: a line of the log, which is on the disk when this returns. A line that a crash
# has cut is ended first, so that it does not become a part of this one.
note() {
  [ -n "$AUREON_RUN" ] || fail "no run has begun"
  if [ -n "$(tail -c 1 "$AUREON_RUN/log" 2>/dev/null)" ]; then
    printf '\n' >>"$AUREON_RUN/log"
  fi
  printf '%s %s ;\n' "$(date +%s)" "$*" >>"$AUREON_RUN/log" && sync "$AUREON_RUN/log"
}

# audit TEXT: a line for people: when, who, in which run, what. This log outlives every undo.
audit() {
  printf '%s %s %s: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$AUREON_WHO" \
    "${AUREON_RUN##*/}" "$*" >>"$AUREON_AUDIT" || :
}

# last_number: of the youngest change of this run; 10000 when there is none.
last_number() {
  last=$(find "$AUREON_RUN" -path '*/undo/1*' -printf '%f\n' -o -path '*/left/1*' -printf '%f\n' |
    sort | tail -n 1)
  printf '%s\n' "${last:-10000}"
}

# next_number: for the change that comes. What a crash may have left under that number goes.
next_number() {
  next=$(($(last_number) + 1))
  rm -rf "$AUREON_RUN/kept/$next" && printf '%s\n' "$next"
}

# write_undo NUMBER SHELL: the way back of a change, on the disk when this returns. It appears
# whole, by its name, or not at all.
write_undo() {
  printf '# %s\n%s\n' "$AUREON_STEP" "$2" >"$AUREON_RUN/undo.new" &&
    sync "$AUREON_RUN/undo.new" &&
    mv -f "$AUREON_RUN/undo.new" "$AUREON_RUN/undo/$1" &&
    sync "$AUREON_RUN/undo" || fail "the journal can not be written"
}

# undo_by SHELL: how the next lines are taken back, when it is not a matter of files. It may run
# after they have failed, in their middle, or twice: it must bear that. Ways back are gone in
# reverse order, so one that has to come last of all is written first.
undo_by() (
  [ -n "$AUREON_RUN" ] || fail "no run has begun"
  number=$(next_number) && write_undo "$number" "$1"
)

# keep PATH AFTER: keeps what is at PATH whole, and writes its way back, for a change that will
# leave there what `look` calls AFTER. Prints the change's number.
keep() (
  [ -n "$AUREON_RUN" ] || fail "no run has begun"
  here=$AUREON_ROOT$1
  directory=$(dirname "$here")
  [ -d "$directory" ] || fail "there is no directory for $1"
  number=$(next_number) || fail "the journal can not be written"
  if [ -e "$here" ] || [ -L "$here" ]; then
    kept=$AUREON_RUN/kept/$number
    cp -a "$here" "$kept" || fail "$1 can not be kept"
    # A link has nothing to be written but its name, which is the directory's.
    if [ -d "$kept" ] && [ ! -L "$kept" ]; then sync -f "$kept"; fi
    if [ -f "$kept" ] && [ ! -L "$kept" ]; then sync "$kept"; fi
    sync "$AUREON_RUN/kept" || fail "$1 can not be kept"
  fi
  write_undo "$number" "restore $number $(quoted "$1") $(quoted "$2") $(time_of "$directory")"
  printf '%s\n' "$number"
)

# ---- Changes

# put PATH MODE OWNER: a file with what comes on standard input. Readers see the old one or the new
# one, never a part. Nothing is done when it is there already.
put() (
  plain_path "$1"
  here=$AUREON_ROOT$1
  new=$AUREON_RUN/new
  rm -f "$new"
  cat >"$new" && chown "$3" "$new" && chmod "$2" "$new" || fail "$1 can not be prepared"
  after=$(look "$new")
  if [ "$(look "$here")" = "$after" ]; then
    rm -f "$new"
    exit 0
  fi
  if [ -d "$here" ] && [ ! -L "$here" ]; then fail "$1 is a directory"; fi
  number=$(keep "$1" "$after") || exit 1
  temporary=$(dirname "$here")/.aureon-$number
  cp -p "$new" "$temporary" && sync "$temporary" && mv -fT "$temporary" "$here" &&
    sync "$(dirname "$here")" || fail "$1 can not be written"
  rm -f "$new"
  say "wrote $1"
)

# put_link PATH TARGET: a symbolic link. It points at the old target or the new one, never nowhere.
put_link() (
  plain_path "$1"
  here=$AUREON_ROOT$1
  if [ "$(look "$here")" = "link $2" ]; then exit 0; fi
  if [ -d "$here" ] && [ ! -L "$here" ]; then fail "$1 is a directory"; fi
  number=$(keep "$1" "link $2") || exit 1
  temporary=$(dirname "$here")/.aureon-$number
  ln -s -- "$2" "$temporary" && mv -fT "$temporary" "$here" && sync "$(dirname "$here")" ||
    fail "$1 can not be linked"
  say "linked $1 to $2"
)

# make_dir PATH MODE OWNER: a directory, with its mode and owner from its first moment. One that is
# there gets them.
make_dir() (
  plain_path "$1"
  here=$AUREON_ROOT$1
  directory=$(dirname "$here")
  [ -n "$AUREON_RUN" ] || fail "no run has begun"
  [ -d "$directory" ] || fail "there is no directory for $1"
  number=$(next_number) || fail "the journal can not be written"
  # As `stat` writes them, whatever names the owner has.
  new=$AUREON_RUN/new
  rm -rf "$new"
  mkdir "$new" && chown "$3" "$new" && chmod "$2" "$new" || fail "$1 can not be prepared"
  after=$(stat -c '%a %u:%g' "$new")
  rmdir "$new"
  if [ -d "$here" ]; then
    before=$(stat -L -c '%a %u:%g' "$here")
    [ "$before" != "$after" ] || exit 0
    write_undo "$number" "restore_mode $(quoted "$1") $before $after"
    chown "$3" "$here" && chmod "$2" "$here" || fail "$1 can not be changed"
    say "changed $1"
  elif [ -e "$here" ] || [ -L "$here" ]; then
    fail "$1 is not a directory"
  else
    write_undo "$number" "unmake_dir $number $(quoted "$1") $(time_of "$directory")"
    temporary=$directory/.aureon-$number
    mkdir "$temporary" && chown "$3" "$temporary" && chmod "$2" "$temporary" &&
      mv -T "$temporary" "$here" && sync "$directory" || fail "$1 can not be made"
    say "made $1"
  fi
)

# remove PATH: a file, a link, or a directory with all in it, which is kept. Gone at once.
remove() (
  plain_path "$1"
  here=$AUREON_ROOT$1
  if [ "$(look "$here")" = nothing ]; then exit 0; fi
  number=$(keep "$1" nothing) || exit 1
  temporary=$(dirname "$here")/.aureon-$number
  mv -T "$here" "$temporary" && sync "$(dirname "$here")" && rm -rf "$temporary" ||
    fail "$1 can not be removed"
  say "removed $1"
)

# keep_time DIRECTORY…: for programs that write into these without us: when all names in one are
# as before, its time is put back too.
keep_time() (
  for directory; do
    number=$(next_number) || fail "the journal can not be written"
    write_undo "$number" \
      "put_time_back $(quoted "$directory") $(time_of "$AUREON_ROOT$directory")"
  done
)

# is_installed PACKAGE: unpacked and configured.
is_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# apt ARGUMENT…: asks nothing, waits two minutes at most for another apt to end, leaves changed
# configuration files as they are, and brings nothing that was not asked for.
apt() {
  DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 APT_LISTCHANGES_FRONTEND=none \
    apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
    --no-install-recommends "$@" </dev/null
}

# update_packages: the list of what is to be had. Another program may be reading it: two minutes.
update_packages() (
  tries=0
  until apt update; do
    tries=$((tries + 1))
    [ "$tries" -lt 12 ] || fail "apt-get update fails"
    sleep 10
  done
)

# add_packages NAME…: one attempt. What comes anew is written down before it comes, so that exactly
# that can be purged again.
add_packages() (
  coming=$(apt -s --no-remove install "$@") || exit 1
  # Inst NAME [VERSION THERE IS] (VERSION TO COME …): without the brackets it is new.
  new=$(printf '%s\n' "$coming" | awk '$1 == "Inst" && $3 !~ /^\[/ { print $2 }' | tr '\n' ' ')
  raised=$(printf '%s\n' "$coming" | awk '$1 == "Inst" && $3 ~ /^\[/ { print $2 }' | tr '\n' ' ')
  [ -z "$raised" ] || say "these get a newer version, which undo does not take back: $raised"
  # What nginx-common and certbot put there and leave there when they are purged. Ways back are gone
  # in reverse.
  for leftover in /var/www/html/index.nginx-debian.html /var/lib/letsencrypt; do
    [ -e "$AUREON_ROOT$leftover" ] || undo_by "remove_leftover $leftover" || exit 1
  done
  undo_by "purge_packages $new" || exit 1
  # Debian's way to say that an installation starts nothing: invoke-rc.d(8).
  policy=$(next_number) && printf '#!/bin/sh\nexit 101\n' | put /usr/sbin/policy-rc.d 0755 0:0 ||
    exit 1
  code=0
  # After a crash in an installation dpkg has to end that first.
  apt --no-remove install "$@" || { dpkg --configure -a && apt --no-remove install "$@"; } </dev/null ||
    code=1
  take_back "$policy"
  exit "$code"
)

# install_packages NAME…: those that are missing, with what they depend on. No service of theirs is
# started: whoever needs it configures it first, and starts it (start_unit).
install_packages() (
  for name; do
    shift
    is_installed "$name" || set -- "$@" "$name"
  done
  [ $# -gt 0 ] || exit 0
  add_packages "$@" || { update_packages && add_packages "$@"; } || fail "not installed: $*"
  say "installed $*"
)

# enable_unit NAME: started at every boot.
enable_unit() (
  if systemctl is-enabled --quiet "$1" 2>/dev/null; then exit 0; fi
  units=/etc/systemd/system
  keep_time "$units"
  for directory in "$AUREON_ROOT$units"/*.wants "$AUREON_ROOT$units"/*.requires; do
    if [ -d "$directory" ]; then keep_time "${directory#"$AUREON_ROOT"}"; fi
  done
  undo_by "systemctl disable --quiet $(quoted "$1")"
  systemctl enable --quiet "$1" || fail "$1 can not be enabled"
  say "enabled $1"
)

# start_unit NAME: now. One that does not start says why.
start_unit() (
  if systemctl is-active --quiet "$1"; then exit 0; fi
  undo_by "if systemctl is-active --quiet $(quoted "$1"); then systemctl stop $(quoted "$1"); fi"
  systemctl start "$1" || {
    journalctl --no-pager -o cat -n 20 -u "$1" || :
    fail "$1 does not start"
  }
  say "started $1"
)

# ---- Ways back

# restore NUMBER PATH AFTER TIME NAMES: puts back what was kept, if what is there is what we left
# there. What somebody else has changed since stays, and is said.
restore() (
  here=$AUREON_ROOT$2
  directory=$(dirname "$here")
  kept=$AUREON_RUN/kept/$1
  temporary=$directory/.aureon-$1
  rm -rf "$temporary" || fail "$temporary can not be removed"
  now=$(look "$here")
  before=$(look "$kept")
  if [ "$now" = "$before" ]; then
    : # The change was not made, or is taken back already.
  elif [ "$now" != "$3" ]; then
    leave "$1" "$2: somebody else has changed it; what was there before: $kept"
    exit 0
  elif [ "$before" = nothing ]; then
    rm -f "$here" && sync "$directory" || fail "$2 can not be removed"
    say "removed $2"
  else
    cp -a "$kept" "$temporary" && sync -f "$temporary" && mv -fT "$temporary" "$here" &&
      sync "$directory" || fail "$2 can not be put back"
    say "put back $2"
  fi
  put_time_back "$(dirname "$2")" "$4" "$5"
)

# unmake_dir NUMBER PATH TIME NAMES: removes a directory that we made, unless there is something in
# it.
unmake_dir() (
  here=$AUREON_ROOT$2
  rm -rf "$(dirname "$here")/.aureon-$1"
  if [ -d "$here" ] && [ ! -L "$here" ]; then
    if [ -n "$(find "$here" -mindepth 1 -print -quit)" ]; then
      leave "$1" "$2 stays: there is something in it"
      exit 0
    fi
    rmdir "$here" && sync "$(dirname "$here")" || fail "$2 can not be removed"
  fi
  put_time_back "$(dirname "$2")" "$3" "$4"
)

# restore_mode PATH MODE OWNER MODE-AFTER OWNER-AFTER: of a directory. The owner and then the mode
# were changed, and are put back so: there are states between.
restore_mode() (
  now=$(stat -L -c '%a %u:%g' "$AUREON_ROOT$1" 2>/dev/null) || exit 0
  case $now in
    "$2 $3") ;;
    "$4 $5" | "$2 $5" | "$4 $3")
      chown "$3" "$AUREON_ROOT$1" && chmod "$2" "$AUREON_ROOT$1" || fail "$1 can not be put back"
      say "put back $1"
      ;;
    *) say "$1 has got another mode or owner by somebody else, and keeps it" ;;
  esac
)

# put_time_back DIRECTORY TIME NAMES: when the same names are in it as before.
put_time_back() {
  if [ -d "$AUREON_ROOT$1" ]; then
    case $(time_of "$AUREON_ROOT$1") in
      *" $3") touch -d "@$2" "$AUREON_ROOT$1" ;;
    esac
  fi
}

# leave NUMBER TEXT: a way back that can not be gone; its kept file stays.
leave() {
  say "left: $2"
  mkdir -p "$AUREON_RUN/left" && mv -f "$AUREON_RUN/undo/$1" "$AUREON_RUN/left/$1"
}

# others_that_go NAME…: packages that would go with these and are not among $ours.
others_that_go() {
  for other in $(apt -s purge "$@" | awk '$1 == "Purg" || $1 == "Remv" { print $2 }'); do
    case $ours in
      *" $other "*) ;;
      *) printf ' %s' "$other" ;;
    esac
  done
}

# purge_packages NAME…: those of them that nothing else needs by now.
purge_packages() (
  ours=" "
  for name; do
    if dpkg-query -W "$name" >/dev/null 2>&1; then ours="$ours$name "; fi
  done
  going=$ours
  # shellcheck disable=SC2086 # names of packages, one a word
  if [ "$ours" != " " ] && [ -n "$(others_that_go $ours)" ]; then
    going=
    for name in $ours; do
      needed_by=$(others_that_go "$name")
      if [ -n "$needed_by" ]; then
        say "left: the package $name stays: needed by$needed_by"
      else
        going="$going $name"
      fi
    done
  fi
  # shellcheck disable=SC2086
  set -- $going
  [ $# -gt 0 ] || exit 0
  apt purge "$@" || { dpkg --configure -a && apt purge "$@"; } </dev/null || fail "not purged: $*"
  say "purged $*"
)

# remove_leftover PATH: a file or an empty directory that a package has left behind, and those that
# are empty then.
remove_leftover() (
  if [ -d "$AUREON_ROOT$1" ]; then
    rmdir "$AUREON_ROOT$1" || say "left: $1 stays: there is something in it"
  else
    rm -f "$AUREON_ROOT$1"
    rmdir -p --ignore-fail-on-non-empty "$(dirname "$AUREON_ROOT$1")" 2>/dev/null || :
  fi
)

# take_back FIRST: every change of this run from number FIRST on, the youngest first. After a crash
# in its middle it goes on where it was. A way back that is running is number $undo.
take_back() (
  set +e
  for undo in $(ways_back); do
    [ "$undo" -ge "$1" ] || continue
    # shellcheck source=/dev/null
    (set -e && . "$AUREON_RUN/undo/$undo")
    code=$?
    [ "$code" -eq 0 ] || fail "change $undo can not be taken back: what fails is the shell in" \
      "$AUREON_RUN/undo/$undo. Mend what it needs, or do it by hand and remove that file"
    rm -f "$AUREON_RUN/undo/$undo" && sync "$AUREON_RUN/undo" || fail "the journal can not be written"
    if [ ! -e "$AUREON_RUN/left/$undo" ]; then rm -rf "$AUREON_RUN/kept/$undo"; fi
  done
)

# ways_back: numbers of the changes that can be taken back, the youngest first.
ways_back() {
  find "$AUREON_RUN/undo" -name '1*' -printf '%f\n' | sort -r
}

# ---- Steps

# begin STEP TITLE: what follows is this step, until `end`. When anything in it fails, the whole
# step is taken back.
begin() {
  AUREON_STEP=$1
  AUREON_FIRST=$(next_number)
  note begin "$AUREON_STEP" "$AUREON_FIRST"
  trap 'ended $?' EXIT
  say "$2"
}

# end: the step is done.
end() {
  note "done" "$AUREON_STEP"
  trap - EXIT
  AUREON_STEP=
}

# ended CODE: the shell ends in the middle of a step.
ended() {
  trap - EXIT
  set +e
  note failed "$AUREON_STEP" "$1"
  say "failed: $AUREON_STEP; it is taken back"
  audit "$AUREON_STEP failed"
  (set -e && take_back "$AUREON_FIRST" && note back "$AUREON_STEP")
  code=$?
  [ "$code" -eq 0 ] || say "not all of it could be taken back: the next run begins with that"
  exit 1
}

# hear: what a step prints, to whoever watches and into the journal; ends as the step did. The
# step goes on when nobody watches any more, or when the disk is full.
hear() {
  while IFS= read -r line || [ -n "$line" ]; do
    printf '%s\n' "$line" >>"$AUREON_RUN/said" || :
    say "$line"
  done
  touch "$AUREON_STATE/lock/busy" || :
  [ "$(last_event)" = "done" ]
}

# relay: the same for what is not a step; ends well if what comes through has ended with `well`.
relay() {
  while IFS= read -r line || [ -n "$line" ]; do say "$line"; done
  touch "$AUREON_STATE/lock/busy" || :
  rm "$AUREON_STATE/lock/well" 2>/dev/null
}

# well: for `relay`.
well() {
  : >"$AUREON_STATE/lock/well"
}

# last_event: the last one of the log that was written whole.
last_event() {
  awk '$NF == ";" { event = $2 } END { print event }' "$AUREON_RUN/log"
}

# open_step [FIELD]: of the step that was begun and neither done nor taken back, if there is one, the
# number of its first change; or another field of the line of the log by which it began.
open_step() {
  awk -v field="${1:-4}" '$NF == ";" && $2 != "failed" { open = $2 == "begin" ? $field : "" }
    END { print open }' "$AUREON_RUN/log"
}

# ---- The lock

# alone: nobody else looks at the lock or takes it until descriptor 8 is closed. It is the directory
# of our own one, which is always there and never another.
alone() {
  exec 8<"${AUREON_STATE%/*}"
  flock -w 10 8 || fail "another aureon is asking for the lock all the time"
}

# lock [break]: one run at a time. The lock is a directory that is there, with all that is in it,
# or not. Whoever runs a step holds the file `busy` in it, which the kernel gives back when that
# process and its children are gone, however they went; it is never taken from one.
lock() {
  mkdir -p "${AUREON_STATE%/*}" "${AUREON_AUDIT%/*}"
  alone
  if [ ! -d "$AUREON_STATE" ]; then
    # Its directory gets this time back when everything is undone.
    time=$(time_of "${AUREON_STATE%/*}")
    mkdir -p "$AUREON_STATE.new"
    printf '%s\n' "$time" >"$AUREON_STATE.new/time"
    sync "$AUREON_STATE.new/time" "$AUREON_STATE.new"
    mv -T "$AUREON_STATE.new" "$AUREON_STATE"
    sync "${AUREON_STATE%/*}"
  fi
  mkdir -p "$AUREON_STATE/journal"
  lock=$AUREON_STATE/lock
  rm -rf "$lock.new"
  mkdir "$lock.new"
  printf '%s\n' "$AUREON_TOKEN" >"$lock.new/token"
  printf '%s\n' "$AUREON_WHO" >"$lock.new/holder"
  date +%s >"$lock.new/since"
  : >"$lock.new/busy"
  # A directory does not move over one that has something in it.
  if ! mv -T "$lock.new" "$lock" 2>/dev/null; then
    if [ "$(cat "$lock/token")" != "$AUREON_TOKEN" ]; then take_over "${1-}"; fi
    rm -rf "$lock.new"
  fi
  exec 8<&-
}

# take_over [break]: the lock of somebody who is gone, or whom we are told not to wait for.
take_over() {
  now=$(date +%s)
  holder="$(cat "$lock/holder"), for $((now - $(cat "$lock/since"))) s"
  silent=$((now - $(stat -c %Y "$lock/busy")))
  exec 9>>"$lock/busy"
  locked="the host is locked by $holder"
  if ! flock -n 9; then
    say "$locked, and a step of it is running"
    exit 75
  elif [ "${1-}" != break ] && [ "$silent" -lt "$AUREON_PATIENCE" ]; then
    say "$locked; last heard of $silent s ago. After $AUREON_PATIENCE s of silence it is yours"
    exit 75
  fi
  rm -rf "$lock.old"
  mv -T "$lock" "$lock.old"
  mv -T "$lock.new" "$lock"
  rm -rf "$lock.old"
  exec 9>&-
  say "took over the lock of $holder; last heard of $silent s ago"
  audit "took over the lock of $holder"
}

# join_run RUN: goes on with a run that we began, behind our own steps: one may still be running
# though its connection is lost. Waits ten minutes for it.
join_run() {
  [ -f "$AUREON_STATE/lock/busy" ] || fail "the host is not locked by us"
  exec 9>>"$AUREON_STATE/lock/busy"
  flock -w 600 9 || fail "a step of this run is still running"
  [ "$(cat "$AUREON_STATE/lock/token" 2>/dev/null)" = "$AUREON_TOKEN" ] ||
    fail "somebody else has taken over the lock; nothing was done"
  touch "$AUREON_STATE/lock/busy"
  AUREON_RUN=$AUREON_STATE/journal/$1
  if [ -n "$1" ]; then [ -d "$AUREON_RUN" ] || fail "there is no run $1"; fi
}

# unlock: lets others in. When no run is left, all that we keep on the host goes, but for the audit
# log and what could not be put back.
unlock() {
  exec 9>&-
  alone
  [ "$(cat "$AUREON_STATE/lock/token" 2>/dev/null)" = "$AUREON_TOKEN" ] || return 0
  rm -rf "$AUREON_STATE/lock.old"
  mv -T "$AUREON_STATE/lock" "$AUREON_STATE/lock.old" && rm -rf "$AUREON_STATE/lock.old"
  if rmdir "$AUREON_STATE/journal" 2>/dev/null && [ ! -d "$AUREON_STATE/left" ]; then
    time=$(cat "$AUREON_STATE/time" 2>/dev/null || :)
    rm -rf "$AUREON_STATE"
    # shellcheck disable=SC2086 # two words
    [ -z "$time" ] || put_time_back /var/lib $time
  fi
  exec 8<&-
}

# ---- Runs

# runs: their names, the oldest first.
runs() {
  find "$AUREON_STATE/journal" -mindepth 1 -maxdepth 1 -name '1*' -printf '%f\n' | sort
}

# start_run APPLICATION WHAT: makes the run's directory, whole or not at all.
start_run() {
  [ -z "$(unfinished)" ] || fail "the run $(unfinished) was not finished"
  last=$(runs | tail -n 1)
  last=${last%%-*}
  run=$((${last:-10000} + 1))-$1-$(date -u +%Y%m%dT%H%M%SZ)
  new=$AUREON_STATE/journal/.new
  rm -rf "$new"
  mkdir -p "$new/undo" "$new/kept"
  printf 'who\t%s\nwhen\t%s\napp\t%s\nwhat\t%s\n' "$AUREON_WHO" "$(date +%s)" "$1" "$2" >"$new/about"
  : >"$new/log"
  sync "$new/about" "$new/log" "$new"
  mv -T "$new" "$AUREON_STATE/journal/$run"
  sync "$AUREON_STATE/journal"
  AUREON_RUN=$AUREON_STATE/journal/$run
  audit "began: $2"
  printf 'run\t%s\n' "$run"
}

# close_step: takes back what a step has left open that was cut off, or whose way back has failed.
close_step() {
  first=$(open_step)
  if [ -n "$first" ]; then
    say "a step of ${AUREON_RUN##*/} was cut off: it is taken back"
    AUREON_STEP=$(open_step 3)
    take_back "$first"
    note back "$AUREON_STEP"
  fi
}

# finish_run [RESULT]: no step of this run is open any more; RESULT is for the audit log. A run that
# changed nothing leaves nothing.
finish_run() {
  close_step
  rm -rf "$AUREON_RUN/new"
  if [ "$(last_number)" -eq 10000 ]; then
    drop_run
  else
    : >"$AUREON_RUN/finished"
    sync "$AUREON_RUN"
  fi
  audit "${1:-finished}"
}

# drop_run: the run's directory goes at once.
drop_run() {
  gone=$AUREON_STATE/journal/.gone
  rm -rf "$gone"
  mv -T "$AUREON_RUN" "$gone" && sync "$AUREON_STATE/journal" && rm -rf "$gone"
}

# unfinished: names of the runs that did not come to their end.
unfinished() {
  for run in $(runs); do
    if [ ! -e "$AUREON_STATE/journal/$run/finished" ] ||
      [ -e "$AUREON_STATE/journal/$run/undoing" ]; then
      printf '%s\n' "$run"
    fi
  done
}

# heal: takes back the step in which a run was cut off; the steps that were done stay, and the next
# plan has only what is missing. A run that was being undone is undone to its end.
heal() {
  rm -rf "$AUREON_STATE/journal/.new" "$AUREON_STATE/journal/.gone"
  for run in $(unfinished); do
    AUREON_RUN=$AUREON_STATE/journal/$run
    if [ -e "$AUREON_RUN/undoing" ]; then
      undo_run
      continue
    fi
    finish_run "closed: it was cut off"
  done
  AUREON_RUN=
}

# undo_run: takes the whole run back. What could not be put back moves to a place of its own.
undo_run() {
  run=${AUREON_RUN##*/}
  : >"$AUREON_RUN/undoing"
  sync "$AUREON_RUN"
  take_back 10001
  if [ -d "$AUREON_RUN/left" ]; then
    mkdir -p "$AUREON_STATE/left"
    mv -T "$AUREON_RUN" "$AUREON_STATE/left/$run"
    say "what was left, and what had been there before the run: $AUREON_STATE/left/$run"
    audit "undone, but for what is in $AUREON_STATE/left/$run"
  else
    drop_run
    audit "undone"
  fi
  say "undone: $run"
}

# undo_runs [last]: the youngest run, or all of them from the youngest to the oldest.
undo_runs() {
  for run in $(runs | sort -r); do
    AUREON_RUN=$AUREON_STATE/journal/$run
    undo_run
    if [ "${1-}" = last ]; then break; fi
  done
}

# tell_journal: all of it, for a program: a kind and its values a line, between tabs.
tell_journal() {
  if [ -d "$AUREON_STATE/lock" ]; then
    running=running
    if flock -n "$AUREON_STATE/lock/busy" true; then running=idle; fi
    printf 'lock\t%s\t%s\t%s\t%s\n' "$(cat "$AUREON_STATE/lock/since")" \
      "$(stat -c %Y "$AUREON_STATE/lock/busy")" "$running" "$(cat "$AUREON_STATE/lock/holder")"
  fi
  for run in $(if [ -d "$AUREON_STATE/journal" ]; then runs; fi); do
    AUREON_RUN=$AUREON_STATE/journal/$run
    printf 'run\t%s\n' "$run"
    cat "$AUREON_RUN/about"
    if [ -e "$AUREON_RUN/finished" ]; then printf 'finished\n'; fi
    if [ -e "$AUREON_RUN/undoing" ]; then printf 'undoing\n'; fi
    awk '$NF == ";" { sub(/ ;$/, ""); print "event\t" $0 }' "$AUREON_RUN/log" 2>/dev/null || :
    for way in $(ways_back); do
      awk -v number="$way" 'NR == 1 { step = substr($0, 3); next }
        { print "undo\t" number "\t" step "\t" $0; exit }' "$AUREON_RUN/undo/$way"
    done
  done
}
