# ---- firewall/keep
make_dir /var/lib/aureon-operator/firewall 0700 root:root
firewall=/var/lib/aureon-operator/firewall
kept=$(readlink "$firewall/armed" || :)
guarded() (
  exec 9>"$firewall/lock"
  flock -w 25 9 || fail "the firewall is being put back"
  [ -L "$firewall/armed" ] || fail "the host has put its firewall back by itself already"
  timeout -k 5 15 "$@"
)
put /var/lib/aureon-operator/firewall/restore 0700 root:root <<'END'
#!/bin/sh
# Puts the firewall back as it was before `aureon` changed it.
#
#   restore             if it is armed: a minute went by and nobody proved that ssh lets people in
#   restore boot        the same at a boot, before ufw starts: there are no rules in the kernel yet
#   restore undo KEPT   in any case, unless somebody else has changed the rules since (then: 3)
#
# It does what it can: a piece that fails does not keep the next one from being tried.
set -u
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
trap '' HUP PIPE
mode=${1:-now}
firewall=/var/lib/aureon-operator/firewall
bad=0
# No command of ufw's is under way while this runs. One that hangs is not waited for any longer.
exec 9>"$firewall/lock"
flock -w 25 9 || :

# put_back KEPT FILE: whole, with mode, owner and times; or what was there stays.
put_back() {
  if cmp -s "$1" "$2" && [ "$(stat -c '%a %u %g %Y' "$1")" = "$(stat -c '%a %u %g %Y' "$2")" ]; then
    return 0
  fi
  cp -a "$1" "$2.aureon-back" && sync "$2.aureon-back" && mv -fT "$2.aureon-back" "$2" || bad=1
}

# without_ufw iptables|ip6tables: other people's rules stay, the policies are the kept ones.
without_ufw() {
  command -v "$1-save" >/dev/null || return 0
  set -- "$1" "$kept/tables/$1"
  edit='/^:ufw/d; /^-A ufw/d; / -j ufw/d'
  for chain in INPUT FORWARD OUTPUT; do
    policy=$(sed -n '/^\*filter/,/^COMMIT/s/^:'"$chain"' \([A-Z]*\).*/\1/p' "$2" 2>/dev/null)
    edit="$edit; s/^:$chain [A-Z]*/:$chain ${policy:-ACCEPT}/"
  done
  "$1-save" -t filter | sed "$edit" | "$1-restore" || return 1
  ! "$1" -S 2>/dev/null | grep -q ufw
}

if [ "$mode" = undo ]; then
  kept=$firewall/${2:?}
  # A copy that was not named is not whole, and nothing has been changed.
  rm -rf "$kept.new"
  [ -d "$kept" ] || exit 0
  if [ -e "$kept/after" ] && ! (cd / && sha256sum -c --status "$kept/after"); then exit 3; fi
  if [ -L "$firewall/armed" ]; then mv -fT "$firewall/armed" "$firewall/restoring"; fi
else
  if [ -L "$firewall/armed" ]; then mv -fT "$firewall/armed" "$firewall/restoring"; fi
  [ -L "$firewall/restoring" ] || exit 0
  kept=$firewall/$(readlink "$firewall/restoring")
fi

put_back "$kept/ufw/ufw.conf" /etc/ufw/ufw.conf

sync

put_back "$kept/default" /etc/default/ufw
cd "$kept/ufw" || bad=1
# shellcheck disable=SC2044 # ufw's own names
for file in $(find . -type f); do
  put_back "$kept/ufw/$file" "/etc/ufw/$file"
done
cd /etc/ufw || bad=1
# shellcheck disable=SC2044
for file in $(find . -type f); do
  [ -e "$kept/ufw/$file" ] || rm -f "/etc/ufw/$file"
done
touch -r "$kept/ufw" /etc/ufw
cd /

if [ "$mode" = boot ]; then
  :
elif [ -e "$kept/active" ]; then
  ufw reload || bad=1
elif grep -qi '^MANAGE_BUILTINS=yes' /etc/default/ufw; then
  for tables in iptables ip6tables; do "$tables-restore" <"$kept/tables/$tables" || bad=1; done
else
  for tables in iptables ip6tables; do
    without_ufw "$tables" || /lib/ufw/ufw-init force-stop || bad=1
  done
fi
[ "$mode" = boot ] || sysctl -e -q -p "$kept/sysctl" || bad=1

sync

# What is not back yet is tried again at the next boot.
[ "$bad" = 0 ] || exit 1
rm -f "$firewall/restoring" "$firewall/next"
rm -f /etc/systemd/system/multi-user.target.wants/aureon-firewall-restore.service \
  /etc/systemd/system/aureon-firewall-restore.service
if [ "$mode" != boot ]; then
  systemctl stop aureon-firewall-deadman.timer 2>/dev/null
  systemctl daemon-reload
fi

sync

[ "$mode" != undo ] || mv -T "$kept" "$kept.new"

sync

[ "$mode" != undo ] || rm -rf "$kept.new" "$firewall/lock"

exit "$bad"
END
if [ -e "$firewall/armed" ] || [ -e "$firewall/restoring" ]; then
  say "an earlier run was cut off here: the firewall goes back to what it was before that"
  sh "$firewall/restore"
fi
kept=kept-$(date -u +%Y%m%dT%H%M%SZ)-$$
keep_time /etc/default /etc/systemd/system /etc/systemd/system/multi-user.target.wants
undo_by "[ ! -e $firewall/restore ] || sh $firewall/restore undo $kept || {
  [ \$? = 3 ] && leave \"\$undo\" 'the rules of ufw have been changed since and stay'; }"
new=$firewall/$kept.new
mkdir -m 0700 "$new" "$new/tables"
cp -a /etc/ufw "$new/ufw"
cp -a /etc/default/ufw "$new/default"
for tables in iptables ip6tables; do
  "$tables-save" >"$new/tables/$tables" 2>/dev/null || :
done
# ufw sets some of the kernel's values.
sed -n 's/^\([a-z][^ =#]*\) *=.*/\1/p' /etc/ufw/sysctl.conf | xargs -r sysctl -e \
  >"$new/sysctl" 2>/dev/null || :
if ufw status | grep -q '^Status: active'; then : >"$new/active"; fi
sync
mv -T "$new" "$firewall/$kept"
ln -sfn "$kept" "$firewall/next"
sync
# ---- firewall/allow
firewall=/var/lib/aureon-operator/firewall
kept=$(readlink "$firewall/armed" || :)
guarded() (
  exec 9>"$firewall/lock"
  flock -w 25 9 || fail "the firewall is being put back"
  [ -L "$firewall/armed" ] || fail "the host has put its firewall back by itself already"
  timeout -k 5 15 "$@"
)
ufw allow 2222/tcp comment 'ssh'
ufw allow 22/tcp comment 'ssh'
ufw allow 80/tcp comment 'http'
ufw allow 443/tcp comment 'https'
# ---- firewall/arm
firewall=/var/lib/aureon-operator/firewall
kept=$(readlink "$firewall/armed" || :)
guarded() (
  exec 9>"$firewall/lock"
  flock -w 25 9 || fail "the firewall is being put back"
  [ -L "$firewall/armed" ] || fail "the host has put its firewall back by itself already"
  timeout -k 5 15 "$@"
)
[ -L "$firewall/next" ] || fail "nothing has been kept"
cat >/etc/systemd/system/aureon-firewall-restore.service <<'UNIT'
[Unit]
Description=Put the firewall back as it was: nobody has proved that ssh lets people in
DefaultDependencies=no
RequiresMountsFor=/var/lib/aureon-operator
After=local-fs.target
Before=ufw.service network-pre.target
ConditionPathExists=/var/lib/aureon-operator/firewall/restore

[Service]
Type=oneshot
ExecStart=/bin/sh /var/lib/aureon-operator/firewall/restore boot

[Install]
WantedBy=multi-user.target
UNIT
chmod 0644 /etc/systemd/system/aureon-firewall-restore.service
systemctl daemon-reload
systemctl enable --quiet aureon-firewall-restore.service
mv -fT "$firewall/next" "$firewall/armed"
sync
# ---- firewall/enable
firewall=/var/lib/aureon-operator/firewall
kept=$(readlink "$firewall/armed" || :)
guarded() (
  exec 9>"$firewall/lock"
  flock -w 25 9 || fail "the firewall is being put back"
  [ -L "$firewall/armed" ] || fail "the host has put its firewall back by itself already"
  timeout -k 5 15 "$@"
)
enable_unit ufw.service
systemctl reset-failed 'aureon-firewall-deadman.*' 2>/dev/null || :
systemd-run --quiet --collect --unit=aureon-firewall-deadman --on-active=60 \
  --timer-property=AccuracySec=1s /bin/sh "$firewall/restore"
systemctl is-active --quiet aureon-firewall-deadman.timer || fail "the timer does not run"
undo_by "[ ! -e $firewall/restore ] || sh $firewall/restore"
guarded ufw --force enable
# ---- firewall/prove
say 'a new connection came in'
# ---- firewall/disarm
firewall=/var/lib/aureon-operator/firewall
kept=$(readlink "$firewall/armed" || :)
guarded() (
  exec 9>"$firewall/lock"
  flock -w 25 9 || fail "the firewall is being put back"
  [ -L "$firewall/armed" ] || fail "the host has put its firewall back by itself already"
  timeout -k 5 15 "$@"
)
sync
late='the host has put its firewall back by itself: the proof came too late'
[ -n "$kept" ] || fail "$late"
(cd / && find etc/ufw etc/default/ufw -type f -exec sha256sum {} +) >"$firewall/$kept/after"
# The restore begins by renaming the same link: one of the two comes first.
mv -T "$firewall/armed" "$firewall/proved" || fail "$late"
systemctl stop aureon-firewall-deadman.timer 2>/dev/null || :
rm -f /etc/systemd/system/multi-user.target.wants/aureon-firewall-restore.service \
  /etc/systemd/system/aureon-firewall-restore.service "$firewall/proved"
systemctl daemon-reload
sync
