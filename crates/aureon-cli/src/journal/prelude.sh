# shellcheck shell=sh
# shellcheck disable=SC2015 # "a && b || fail": fail ends the shell, so it is an if-then-else
# AUREON's operator on the host: POSIX sh, and what Debian has installed before anything else.
#
# Every change goes through one of the functions below, and each of them writes down how it is
# taken back before it changes anything, so that the way back is known after a crash at any point.
# A run has a directory of its own in /var/lib/aureon-operator/journal:
#
#   about     who began it, when, for which application, what it does
#   log       one line an event: seconds since 1970, begin | done | failed, the step, and " ;",
#             without which a line was not written whole and does not count
#   said      what the steps printed
#   undo/N    shell that takes change N back; there before the change is
#   kept/N    what was there before change N: content, mode, owner, times, links
#   left/N    ways back that were not gone, because somebody else had changed the file
#   finished  the run came to its end, or what was unfinished of it has been taken back
#   undoing   the whole run is being taken back
#
# N counts from 10001, so that names sort by themselves. The shell in undo/N is a promise: a later
# prelude has to know the functions it calls (restore, restore_mode, unmake_dir, put_time_back,
# purge_packages).
set -eu

# Paths below are the host's own. A test, or somebody curious, sets this to a directory.
AUREON_ROOT=${AUREON_ROOT-}
AUREON_STATE=$AUREON_ROOT/var/lib/aureon-operator
AUREON_AUDIT=$AUREON_ROOT/var/log/aureon-operator.log
AUREON_RUN=${AUREON_RUN-}
AUREON_STEP=${AUREON_STEP-}

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
  if [ -n "$(tail -c 1 "$AUREON_RUN/log" 2>/dev/null)" ]; then
    printf '\n' >>"$AUREON_RUN/log"
  fi
  printf '%s %s ;\n' "$(date +%s)" "$*" >>"$AUREON_RUN/log" && sync "$AUREON_RUN/log"
}

# audit WHAT RESULT: a line for people, in a log that outlives every undo.
audit() {
  printf '%s %s: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$AUREON_WHO" "$*" >>"$AUREON_AUDIT" || :
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
  ln -s "$2" "$temporary" && mv -fT "$temporary" "$here" && sync "$(dirname "$here")" ||
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
  rm -rf "$temporary"
  now=$(look "$here")
  before=$(look "$kept")
  if [ "$now" = "$before" ]; then
    : # The change was not made, or is taken back already.
  elif [ "$now" != "$3" ]; then
    leave "$1" "$2 has been changed by somebody else and stays as it is; what was there before the run is in $kept"
    exit 0
  elif [ "$before" = nothing ]; then
    rm -f "$here"
    say "removed $2"
  else
    cp -a "$kept" "$temporary" && sync -f "$temporary" && mv -fT "$temporary" "$here"
    say "put back $2"
  fi
  put_time_back "$(dirname "$2")" "$4" "$5"
)

# unmake_dir NUMBER PATH TIME NAMES: removes a directory that we made, unless there is something in
# it.
unmake_dir() (
  here=$AUREON_ROOT$2
  rm -rf "$(dirname "$here")/.aureon-$1"
  if [ -d "$here" ] && [ ! -L "$here" ] && ! rmdir "$here" 2>/dev/null; then
    leave "$1" "$2 stays: there is something in it"
    exit 0
  fi
  put_time_back "$(dirname "$2")" "$3" "$4"
)

# restore_mode PATH MODE OWNER MODE-AFTER OWNER-AFTER: of a directory. The owner and then the mode
# were changed, so there is a state between.
restore_mode() (
  now=$(stat -L -c '%a %u:%g' "$AUREON_ROOT$1" 2>/dev/null) || exit 0
  case $now in
    "$2 $3") ;;
    "$4 $5" | "$2 $5") chown "$3" "$AUREON_ROOT$1" && chmod "$2" "$AUREON_ROOT$1" ;;
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

# purge_packages NAME…: those of them that nothing else needs by now.
purge_packages() (
  ours=" "
  for name; do
    if dpkg-query -W "$name" >/dev/null 2>&1; then ours="$ours$name "; fi
  done
  going=
  for name in $ours; do
    needed_by=
    for other in $(apt -s purge "$name" | awk '$1 == "Purg" || $1 == "Remv" { print $2 }'); do
      case $ours in
        *" $other "*) ;;
        *) needed_by="$needed_by $other" ;;
      esac
    done
    if [ -n "$needed_by" ]; then
      say "left: the package $name stays: needed by$needed_by"
    else
      going="$going $name"
    fi
  done
  [ -n "$going" ] || exit 0
  # shellcheck disable=SC2086 # names of packages, one a word
  apt purge $going || { dpkg --configure -a && apt purge $going; } </dev/null ||
    fail "not purged:$going"
  say "purged$going"
)

# take_back FIRST: every change of this run from number FIRST on, the youngest first. After a crash
# in its middle it goes on where it was.
take_back() (
  set +e
  for way in $(ways_back); do
    [ "$way" -ge "$1" ] || continue
    # shellcheck source=/dev/null
    (set -e && . "$AUREON_RUN/undo/$way")
    code=$?
    [ "$code" -eq 0 ] || fail "change $way can not be taken back"
    rm -f "$AUREON_RUN/undo/$way" && sync "$AUREON_RUN/undo" || fail "the journal can not be written"
    if [ ! -e "$AUREON_RUN/left/$way" ]; then rm -rf "$AUREON_RUN/kept/$way"; fi
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
  (take_back "$AUREON_FIRST") || say "error: not all of it could be taken back; aureon undo tries again"
  [ "$1" -ne 0 ] || exit 1
  exit "$1"
}
