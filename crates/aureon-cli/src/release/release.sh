# shellcheck shell=sh
# Releases, on the host. A part of the journal's prelude, whose put_link, undo_by, say and fail it
# uses; ways back call functions of this file.
#
# /opt/aureon/objects/ab/cdef…     a content by its SHA-256; with .x behind it one that may be run
# /opt/aureon/releases/<id>/       links to contents, and the manifest: `mode size sha256 h path`
# /opt/aureon/releases/<id>.runs   how it is run and asked: `site|inherited|port seconds path`
# /opt/aureon/current/<app>        a link to the release that serves
# /opt/aureon/previous/<app>       a link to the one that served before it

release_base=$AUREON_ROOT/opt/aureon
release_units=$AUREON_ROOT/run/systemd/system
# Debian's and Ubuntu's, of all sites that do not say otherwise, and ours do not.
release_log=$AUREON_ROOT/var/log/nginx/access.log
# 64 MiB: a minute of 5,000 requests a second, and read in a second or two.
release_log_bytes_max=67108864

# release_names APP: of all its releases, oldest first.
release_names() {
  find "$release_base/releases" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' 2>/dev/null |
    grep -E "^$1-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{12}\$" | sort || :
}

# release_of LINK: the name of the release that it leads to; nothing if it leads nowhere.
release_of() {
  if [ -d "$1/" ]; then basename "$(readlink "$1")"; fi
}

# release_object SHA256 MODE: the path of a content.
release_object() {
  release_rest=${1#??}
  release_path=$release_base/objects/${1%"$release_rest"}/$release_rest
  if [ "$2" = 755 ]; then release_path=$release_path.x; fi
  printf '%s\n' "$release_path"
}

# release_sweep: contents that no release has.
release_sweep() {
  find "$release_base/objects" -mindepth 1 -type f -links 1 -delete 2>/dev/null || :
  find "$release_base/objects" -mindepth 1 -type d -empty -delete 2>/dev/null || :
}

# Contents arrive as a tar on standard input. Each is compared with its name before it gets to
# where releases find it. Those that are whole stay though the rest does not arrive, so that it
# need not travel again.
release_receive() {
  release_broken=
  # It may run in this very shell, because the upload has broken off, or some day.
  # shellcheck disable=SC2016
  undo_by '[ -n "${release_broken-}" ] || release_sweep'
  (release_unpack) || release_broken=yes
  [ -z "$release_broken" ] || fail "the upload is not whole; what arrived is kept for the next one"
}

release_unpack() {
  umask 022
  incoming=$release_base/objects/.incoming
  rm -rf "$incoming"
  mkdir "$incoming"
  cd "$incoming" || exit 1
  code=0
  tar -x -m --no-same-owner -f - || code=1
  # The last file says that it was the last: to tar an end between two files is an end.
  [ -f whole ] || code=1
  rm -f whole
  # `<sha256>  ab/cdef….x` for each file; what does not match goes.
  find . -type f -printf '%P\n' | sed 's,^\(..\)/\([0-9a-f]*\).*$,\1\2  &,' >../.sums
  if ! sha256sum -c --quiet ../.sums >../.failed 2>/dev/null; then
    # Without files there is nothing to compare, which it calls a failure.
    [ ! -s ../.sums ] || code=1
    sed -n 's/: FAILED.*$//p' ../.failed | xargs -r rm -f
  fi
  # They are on the disk before they have a name that is believed.
  sync -f .
  for part in ??; do
    [ -d "$part" ] || continue
    mkdir -p "../$part"
    find "$part" -type f -exec mv -f -t "../$part" {} +
  done
  cd /
  rm -rf "$incoming" "$release_base/objects/.sums" "$release_base/objects/.failed"
  exit "$code"
}

# release_unmake ID: takes a release away.
release_unmake() {
  rm -rf "$release_base/releases/$1" "$release_base/releases/.$1"
  rm -f "$release_base/releases/$1.receipt" "$release_base/releases/$1.runs"
  release_sweep
}

# release_link RELEASE SHA256 MODE PATH: a file of a release that is being put together.
release_link() {
  ln "$(release_object "$2" "$3")" "$1/$4" || fail "$4 is not on the host"
}

# release_assemble APP ID MANIFEST KIND SECONDS PATH: puts it together aside and gives it its name
# when it is whole. The last three are what a way back to it needs, from whichever machine.
release_assemble() (
  to=$release_base/releases/$2
  aside=$release_base/releases/.$2
  if [ -d "$to" ]; then exit 0; fi
  undo_by "release_unmake $2"
  umask 022
  rm -rf "$aside"
  mkdir "$aside"
  release_link "$aside" "$3" 644 manifest
  release_fill "$aside" "$aside/manifest" all
  # Pages that browsers still show ask for the styles and scripts they came with: names with a
  # hash in them of releases that are kept lead to what they led to.
  for kept in $(release_names "$1"); do
    release_fill "$aside" "$release_base/releases/$kept/manifest" hashed
  done
  printf '%s\n' "$4 $5 $6" >"$release_base/releases/$2.runs"
  sync -f "$aside"
  mv -T "$aside" "$to"
  say "made the release $2"
)

# release_fill RELEASE MANIFEST all|hashed: links to what the manifest names and is not there.
release_fill() {
  # A condition for awk.
  # shellcheck disable=SC2016
  if [ "$3" = hashed ]; then release_only='$4 == "h"'; else release_only=1; fi
  awk "NR > 3 && $release_only"' { path = substr($0, length($1 $2 $3 $4) + 5)
    while (sub(/\/[^\/]*$/, "", path)) print path }' "$2" |
    sort -u | (cd "$1" && xargs -r -d '\n' mkdir -p --)
  sed 1,3d "$2" | while read -r release_mode _ release_sha release_hashed release_name; do
    if [ "$3" = hashed ] && [ "$release_hashed" != h ]; then continue; fi
    if [ -e "$1/$release_name" ]; then continue; fi
    release_link "$1" "$release_sha" "$release_mode" "$release_name"
  done || exit 1
}

# release_renew OLD NEW: what is another content under the same name gets the time of now, in case
# a browser asks by time alone: links share it with older releases, and a way back must look new.
release_renew() {
  [ -f "$release_base/releases/$1/manifest" ] || return 0
  awk 'FNR <= 3 { next }
    { path = substr($0, length($1 $2 $3 $4) + 5) }
    NR == FNR { had[path] = $1 $3; next }
    had[path] != $1 $3 { print substr($3, 1, 2) "/" substr($3, 3) ($1 == "755" ? ".x" : "") }' \
    "$release_base/releases/$1/manifest" "$release_base/releases/$2/manifest" | sort -u |
    (cd "$release_base/objects" && xargs -r touch -c --)
}

# release_answers PORT PATH: whether a request for the path is answered by 200; else what came.
release_answers() {
  # bash has sockets and is on every Debian; curl is not. It is bash that expands this.
  # shellcheck disable=SC2016
  timeout 5 bash -c '
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    printf "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" "$2" >&3
    IFS= read -r line <&3 || exit 1
    case $line in
      "HTTP/1."[01]" 200"*) cat <&3 >/dev/null; exit 0 ;;
    esac
    printf "%s\n" "$line" | tr -d "\r"
    exit 1' release "$1" "$2" 2>/dev/null
}

# release_await UNIT PORT PATH SECONDS: until it is healthy, or has failed, or the time is over.
release_await() {
  release_until=$(($(date +%s) + $4))
  release_heard=
  while [ "$(date +%s)" -lt "$release_until" ]; do
    if release_heard=$(release_answers "$2" "$3"); then return 0; fi
    # Started again by systemd, it would be tried until systemd gives up and closes the socket.
    if [ "$(systemctl is-active "$1" || :)" = failed ] ||
      [ "$(systemctl show -p NRestarts --value "$1")" != 0 ]; then
      release_heard="it has ended"
      return 1
    fi
    sleep 0.1
  done
  return 1
}

# release_start start|restart UNIT SECONDS: whether systemd calls it started. A program that says
# nothing of itself is started as soon as it runs.
release_start() {
  systemctl reset-failed "$2" 2>/dev/null || :
  # systemctl warns that the socket is still there, which is what it is for.
  if timeout "$3" systemctl "$1" "$2" 2>/dev/null; then return 0; fi
  release_heard="it does not start"
  return 1
}

# release_logs UNIT SINCE: what it said last, on standard error, but for requests of aureond's log.
release_logs() {
  journalctl --no-pager -q -u "$1" --since="$2" -o cat |
    grep -v '^{"ts":.*"duration":' | tail -n 20 >&2 || :
}

# release_free_port: one between 20000 and 29999 on which nobody listens.
release_free_port() {
  release_taken=$(ss -Hltn | awk '{ sub(/.*:/, "", $4); print $4 }')
  release_port=$((20000 + $$ % 10000))
  while printf '%s\n' "$release_taken" | grep -qx "$release_port"; do
    release_port=$(((release_port - 20000 + 1) % 10000 + 20000))
  done
  printf '%s\n' "$release_port"
}

# release_try_end APP: nothing of a try stays.
release_try_end() {
  systemctl stop "aureon-$1-try.socket" "aureon-$1-try.service" 2>/dev/null || :
  rm -f "$release_units/aureon-$1-try.service" "$release_units/aureon-$1-try.socket"
  systemctl reset-failed "aureon-$1-try.service" 2>/dev/null || :
  systemctl daemon-reload
}

# release_try_units APP ID PORT: the units of the application for this release alone, on a port of
# its own, beside what serves. The user is the same, since systemd gives the state directory to
# whoever starts; the runtime directory is another, since systemd removes it with whoever stops.
release_try_units() {
  release_unit=/etc/systemd/system/aureon-$1.service
  [ -f "$release_unit" ] || release_unit=/etc/systemd/system/aureon-$1@.service
  mkdir -p "$release_units"
  sed -e "s,$release_base/current/$1\([/[:space:]]\|\$\),$release_base/releases/$2\1,g" \
    -e "s,aureon-$1\.socket,aureon-$1-try.socket,g" \
    -e "s,^RuntimeDirectory=.*,RuntimeDirectory=aureon-$1-try," \
    -e "s,/run/aureon-$1/,/run/aureon-$1-try/,g" \
    -e 's,^Restart=.*,Restart=no,' \
    -e '/^\[Install\]/,$d' \
    -e "s,%i,$3,g" \
    -e "s,--listen 127\.0\.0\.1:[0-9]*,--listen 127.0.0.1:$3," \
    -e "s,^Description=.*,& (a new release is tried)," \
    "$release_unit" >"$release_units/aureon-$1-try.service"
  if ! grep -q '^User=' "$release_unit"; then
    sed -i "s,^\[Service\].*,&\nUser=aureon-$1," "$release_units/aureon-$1-try.service"
  fi
  if [ -f "/etc/systemd/system/aureon-$1.socket" ]; then
    sed -e "s,^ListenStream=.*,ListenStream=127.0.0.1:$3," -e '/^\[Install\]/,$d' \
      -e "s,aureon-$1\.service,aureon-$1-try.service,g" \
      "/etc/systemd/system/aureon-$1.socket" >"$release_units/aureon-$1-try.socket"
  fi
  systemctl daemon-reload
}

# release_try APP ID PATH SECONDS: the release is started beside the one that serves and asked for
# its health path. Nobody else gets to it.
release_try() {
  release_try_port=$(release_free_port)
  undo_by "release_try_end $1"
  release_try_end "$1"
  release_try_units "$1" "$2" "$release_try_port"
  release_since=$(date +@%s.%6N)
  if [ -f "$release_units/aureon-$1-try.socket" ]; then
    systemctl start "aureon-$1-try.socket" || :
  fi
  if release_start start "aureon-$1-try.service" "$4" &&
    release_await "aureon-$1-try.service" "$release_try_port" "$3" "$4"; then
    say "it answers"
    release_try_end "$1"
    return 0
  fi
  release_logs "aureon-$1-try.service" "$release_since"
  fail "the new release is not healthy within $4 s: GET $3: ${release_heard:-no answer}"
}

# release_says KEY VALUE: for the receipt.
release_says() {
  printf 'receipt %s %s\n' "$1" "$2"
}

# release_count APP KEY: what aureond has counted so far.
release_count() {
  release_program=$release_base/current/$1/bin/aureond
  [ -x "$release_program" ] || return 0
  if release_json=$("$release_program" status --json --admin "unix:/run/aureon-$1/admin.sock" 2>/dev/null); then
    release_says "$2" "$release_json"
  fi
}

# release_log_begin: where Nginx's log is at this moment.
release_log_begin() {
  release_log_at=$(stat -c '%i %s' "$release_log" 2>/dev/null || :)
}

# release_log_count: what Nginx has written there since, for a program that does not count itself.
# What can not be counted whole is not counted, and said. The switch is good whatever comes out.
release_log_count() {
  release_log_now=$(stat -c '%i %s' "$release_log" 2>/dev/null || :)
  if [ -z "$release_log_at" ] || [ -z "$release_log_now" ]; then
    release_says nginx_not "Nginx has no /var/log/nginx/access.log"
  elif ! grep -Eqs '^[[:space:]]*access_log[[:space:]]+/var/log/nginx/access\.log([[:space:]]+combined)?;' \
    "$AUREON_ROOT/etc/nginx/nginx.conf"; then
    release_says nginx_not "nginx.conf has another access_log than Debian's"
  elif [ "${release_log_now% *}" != "${release_log_at% *}" ] ||
    [ "${release_log_now#* }" -lt "${release_log_at#* }" ]; then
    release_says nginx_not "Nginx's log was rotated meanwhile"
  else
    release_log_sum "${release_log_at#* }" $((${release_log_now#* } - ${release_log_at#* }))
  fi
}

# release_log_sum FROM BYTES: of the lines in this piece of the log.
release_log_sum() {
  if [ "$2" -gt "$release_log_bytes_max" ]; then
    release_says nginx_not "Nginx wrote more than $release_log_bytes_max bytes of log meanwhile"
    return 0
  fi
  # Quotes in what a client sends are written as \x22, so that a line has six of them.
  # shellcheck disable=SC2016 # awk's
  release_sum=$(tail -c "+$(($1 + 1))" "$release_log" 2>/dev/null | head -c "$2" |
    awk -F '"' 'NF != 7 || $3 !~ /^ [0-9][0-9][0-9] [0-9]+ $/ { strange = 1; exit }
      { split($3, said, " "); many++; failed += said[1] >= 500; bytes += said[2] }
      END { if (!strange) printf "%d %d %.0f", many, failed, bytes }' || :)
  if [ "$(stat -c %i "$release_log" 2>/dev/null || :)" != "${release_log_at% *}" ]; then
    release_says nginx_not "Nginx's log was rotated meanwhile"
  elif [ -z "$release_sum" ]; then
    release_says nginx_not "Nginx's log has another form than combined"
  else
    release_says nginx "$release_sum"
  fi
}

# release_restart APP restart|upgrade SECONDS: the program of the current release. The socket is held
# meanwhile; by an upgrade the old process serves until the new one does.
release_restart() {
  if [ "$2" = upgrade ] && [ "$(systemctl is-active "aureon-$1.service")" = active ] &&
    "$release_base/current/$1/bin/aureond" upgrade --admin "unix:/run/aureon-$1/admin.sock"; then
    return 0
  fi
  release_start restart "aureon-$1.service" "$3"
}

# release_serves APP ID: whether the process that systemd knows is of this release. A program that
# an interpreter runs can not be seen that way, and is believed.
release_serves() {
  release_pid=$(systemctl show -p MainPID --value "aureon-$1.service")
  release_exe=$(readlink "/proc/$release_pid/exe") || return 1
  case $release_exe in
    "$release_base/releases/$2/"*) return 0 ;;
    "$release_base"/*) ;;
    *) return 0 ;;
  esac
  # One inode has many names: which of them /proc shows is not said.
  release_file=$release_base/releases/$2/${release_exe#"$release_base"/*/*/}
  [ "$(stat -L -c %d:%i "/proc/$release_pid/exe")" = "$(stat -L -c %d:%i "$release_file")" ]
}

# release_go_over APP restart|upgrade ID PORT PATH SECONDS: the current release serves, or not.
release_go_over() {
  systemctl start "aureon-$1.socket" || :
  release_restart "$1" "$2" "$6" || return 1
  release_await "aureon-$1.service" "$4" "$5" "$6" || return 1
  release_serves "$1" "$3" && return 0
  release_heard="process $release_pid is not of this release"
  return 1
}

# release_back APP NEW OLD: how a switch is taken back, when the links are back already.
release_back() {
  if [ -n "$3" ]; then
    release_renew "$2" "$3"
    systemctl reset-failed "aureon-$1.service" 2>/dev/null || :
    systemctl restart "aureon-$1.service" 2>/dev/null
    say "the release $3 serves again"
  else
    systemctl stop "aureon-$1.socket" "aureon-$1.service" 2>/dev/null || :
    release_forget "$1"
  fi
}

# release_forget APP: directories that systemd made for it, unless it keeps something there.
release_forget() {
  for release_state in lib log; do
    release_state=$AUREON_ROOT/var/$release_state
    [ -L "$release_state/aureon-$1" ] || continue
    if rmdir "$release_state/private/aureon-$1" 2>/dev/null; then
      rm -f "$release_state/aureon-$1"
    else
      say "left: $release_state/aureon-$1 stays: it has what the application keeps"
    fi
  done
}

# release_switch APP restart|upgrade ID PORT PATH SECONDS: through the held socket. When the release
# is not healthy there the step fails, and is taken back.
release_switch() {
  release_old=$(release_of "$release_base/current/$1")
  # Done before, and broken off: then the one before is the one that is named so.
  [ "$release_old" != "$3" ] || release_old=$(release_of "$release_base/previous/$1")
  release_since=$(date +@%s.%6N)
  release_began=$(date +%s%3N)
  # Runs after the links have been put back, since it is written before.
  undo_by "release_back $1 $3 '$release_old'"
  release_says from "$release_old"
  release_says to "$3"
  release_old_pid=$(systemctl show -p MainPID --value "aureon-$1.service")
  release_count "$1" before
  release_log_begin
  release_renew "$release_old" "$3"
  if [ -n "$release_old" ]; then
    put_link "/opt/aureon/previous/$1" "../releases/$release_old"
  fi
  put_link "/opt/aureon/current/$1" "../releases/$3"
  if ! release_go_over "$@"; then
    release_logs "aureon-$1.service" "$release_since"
    fail "release $3 is not healthy: GET $5: ${release_heard:-no answer}"
  fi
  release_says switched_ms "$(($(date +%s%3N) - release_began))"
  if [ -n "$release_old" ]; then release_watch "$1"; fi
}

# release_resume APP: a way back of what comes before a switch: when files are back as they were, what
# runs begins anew with them.
release_resume() {
  if systemctl is-active --quiet "aureon-$1.service"; then
    systemctl daemon-reload
    systemctl restart "aureon-$1.service" 2>/dev/null
  fi
}

# release_again APP PORT PATH SECONDS: the release that serves, with another configuration.
release_again() {
  release_since=$(date +@%s.%6N)
  systemctl start "aureon-$1.socket" || :
  if release_restart "$1" restart "$4" &&
    release_await "aureon-$1.service" "$2" "$3" "$4"; then return 0; fi
  release_logs "aureon-$1.service" "$release_since"
  fail "it is not healthy with the new configuration: GET $3: ${release_heard:-no answer}"
}

# release_watch APP: the old process finishes what it has begun, the new one serves for two
# seconds; then both are counted.
release_watch() {
  release_tries=0
  while [ -e "/proc/${release_old_pid:-0}" ] && [ "$release_tries" -lt 50 ]; do
    sleep 0.1
    release_tries=$((release_tries + 1))
  done
  sleep 2
  journalctl --no-pager -q -u "aureon-$1.service" --since="$release_since" -o cat |
    sed -n 's/^aureond: counted {/receipt old {/p' | tail -n 1
  release_count "$1" new
  [ -x "$release_base/current/$1/bin/aureond" ] || release_log_count
}

# release_prune APP KEEP: never the current one, never the one before it.
release_prune() {
  release_current=$(release_of "$release_base/current/$1")
  release_previous=$(release_of "$release_base/previous/$1")
  release_many=$(release_names "$1" | wc -l)
  for release_name in $(release_names "$1"); do
    [ "$release_many" -gt "$2" ] || break
    case $release_name in
      "$release_current" | "$release_previous") continue ;;
    esac
    rm -rf "$release_base/releases/$release_name"
    rm -f "$release_base/releases/$release_name.receipt" "$release_base/releases/$release_name.runs"
    release_many=$((release_many - 1))
    say "removed the release $release_name"
  done
  release_sweep
}

# ---- Programs that open a port themselves: aureon-<app>@<port>.service, and Nginx before them.

# release_ports APP: on which instances of it run.
release_ports() {
  systemctl list-units --plain --no-legend --state=active "aureon-$1@*.service" |
    sed -n 's/^aureon-.*@\([0-9]*\)\.service .*/\1/p'
}

# release_nginx_reload: if there is one that runs. What it would not accept it does not get.
release_nginx_reload() {
  if systemctl is-active --quiet nginx.service; then
    nginx -t -q || fail "Nginx does not accept its configuration"
    systemctl reload nginx.service
  fi
}

# release_leave PORT: until nobody is connected to it any more, for half a minute at most: Nginx
# finishes what it has begun.
release_leave() {
  release_tries=0
  while [ "$release_tries" -lt 300 ] &&
    [ -n "$(ss -Htn state established "( sport = :$1 )")" ]; do
    sleep 0.1
    release_tries=$((release_tries + 1))
  done
}

# release_back_port APP NEW OLD PORT OLD-PORT: how it is taken back, when the files are as before.
release_back_port() {
  systemctl daemon-reload
  if [ -n "$5" ]; then
    release_renew "$2" "$3"
    systemctl start "aureon-$1@$5.service"
    release_nginx_reload
    release_leave "$4"
    say "the release $3 serves again"
  fi
  systemctl stop "aureon-$1@$4.service" 2>/dev/null || :
  [ -n "$5" ] || release_forget "$1"
}

# release_switch_port APP ID PORT PATH SECONDS: the new release runs on a port of its own before
# Nginx goes over to it; the old one stops when Nginx has left it.
release_switch_port() {
  release_old=$(release_of "$release_base/current/$1")
  [ "$release_old" != "$2" ] || release_old=$(release_of "$release_base/previous/$1")
  release_since=$(date +@%s.%6N)
  release_began=$(date +%s%3N)
  release_old_port=$(release_ports "$1" | grep -vx "$3" | head -n 1 || :)
  undo_by "release_back_port $1 $2 '$release_old' $3 '$release_old_port'"
  release_says from "$release_old"
  release_says to "$2"
  release_renew "$release_old" "$2"
  release_log_begin
  if [ -n "$release_old" ]; then
    put_link "/opt/aureon/previous/$1" "../releases/$release_old"
  fi
  put_link "/opt/aureon/current/$1" "../releases/$2"
  systemctl stop "aureon-$1@$3.service" 2>/dev/null || :
  if ! { release_start start "aureon-$1@$3.service" "$5" &&
    release_await "aureon-$1@$3.service" "$3" "$4" "$5"; }; then
    release_logs "aureon-$1@$3.service" "$release_since"
    fail "release $2 is not healthy: GET $4: ${release_heard:-no answer}"
  fi
  enable_unit "aureon-$1@$3.service"
  [ -z "$release_old_port" ] || release_move "$1" "$release_old_port" "$3"
  release_says switched_ms "$(($(date +%s%3N) - release_began))"
  if [ -n "$release_old" ]; then
    # As long as others are watched.
    sleep 2
    release_log_count
  fi
}

# release_move APP OLD-PORT PORT: Nginx goes over.
release_move() {
  release_site=/etc/nginx/sites-available/aureon-$1
  if [ -f "$AUREON_ROOT$release_site" ]; then
    sed "s,127\.0\.0\.1:$2\([^0-9]\),127.0.0.1:$3\1,g" "$AUREON_ROOT$release_site" |
      put "$release_site" "$(stat -c %a "$AUREON_ROOT$release_site")" 0:0
    release_nginx_reload
  fi
  release_leave "$2"
  undo_by "systemctl enable --quiet aureon-$1@$2.service"
  systemctl disable --quiet "aureon-$1@$2.service"
  systemctl stop "aureon-$1@$2.service"
}
