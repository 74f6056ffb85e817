//! What is done to the firewall, move by move: the one list that the plan renders to shell and the
//! model test (`model.rs`) walks through crashes, reboots and lost links.
//!
//! A move is small enough that the model can say what each half of it leaves behind. Two rules hold
//! the list together. What may shut ssh out runs `guarded`: under a lock that the restore takes
//! too, and only while the restore is armed. And what a later move relies on after a power cut is
//! settled (`sync`) before that move begins.

use super::Before;

/// Where it is kept what was there before, and the script that puts it back.
pub(crate) const PLACE: &str = "/var/lib/aureon-operator/firewall";

/// Seconds until the firewall is put back unless a new connection proved that ssh lets people in.
/// 60: a new connection takes one, a slow link ten; with [`LOCK_S`] and the restore itself 90 hold.
pub(crate) const DEADMAN_S: u32 = 60;

/// Seconds that the restore waits for a command of ufw that is under way; it gets [`COMMAND_S`].
pub(crate) const LOCK_S: u32 = 25;

/// Seconds that a command of ufw may take before it is ended. 15, and 5 more before it is killed;
/// it takes half of one on a small machine.
pub(crate) const COMMAND_S: u32 = 15;

/// One command, or a few that stand or fall together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// What is there is copied whole into a directory of its own.
    Keep,
    /// The copy gets the name under which it is put back: not before it is on the disk.
    Name,
    /// Everything written so far survives a power cut.
    Settle,
    /// A boot puts back what was kept, before ufw starts.
    ArmBoot,
    /// So does a minute without a proof.
    ArmTimer,
    /// ufw looks after IPv6 too: with `IPV6=no` it shuts IPv6 out altogether.
    Ipv6,
    /// A TCP port is open, to IPv4 and IPv6.
    Allow(u16),
    /// ufw's unit starts at boot.
    BootUnit,
    /// Now and at every boot.
    Enable,
    /// Somebody who comes now is let in: a connection of its own.
    Prove,
    /// From here on nothing is put back by itself.
    Commit,
    /// What would have put it back is taken away.
    Unarm,
}

/// Moves that travel as one script: they run to their end though the link breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stage {
    /// The step's id behind `firewall/`.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) title: String,
    /// Why it stands where it does.
    pub(crate) why: &'static str,
    /// In this order.
    pub(crate) moves: Vec<Move>,
}

/// The whole order. `before` says what is there and what is missing.
pub(crate) fn stages(before: &Before) -> Vec<Stage> {
    use Move::{
        ArmBoot, ArmTimer, BootUnit, Commit, Enable, Ipv6, Keep, Name, Prove, Settle, Unarm,
    };
    let ports: Vec<String> = before.missing.iter().map(u16::to_string).collect();
    let ports = ports.join(", ");
    let stage = |name, title: &str, why, moves| Stage {
        name,
        title: title.to_owned(),
        why,
        moves,
    };
    let allow = before.missing.iter().map(|port| Move::Allow(*port));
    let keep = stage(
        "keep",
        "Keep the firewall as it is",
        "Whatever happens below can be taken back from this copy, also by the host itself.",
        vec![Keep, Settle, Name, Settle],
    );
    let arm = stage(
        "arm",
        "At a boot, put the firewall back",
        "A timer does not outlive a reboot, ufw does: so until the proof a boot undoes this first.",
        vec![ArmBoot, Settle],
    );
    let prove = stage(
        "prove",
        "Come in by a new ssh connection",
        "This connection was there before the rules and proves nothing about them.",
        vec![Prove],
    );
    let disarm = stage(
        "disarm",
        "Leave the firewall as it is now",
        "A new connection came in. The rules are on the disk before their way back goes.",
        vec![Settle, Commit, Unarm, Settle],
    );
    let title = format!("Open TCP ports {ports} in the firewall");
    if before.active {
        // A rule is written in place by ufw: a power cut may leave half a file, and a boot with it
        // lets nobody in. So here too the way back is armed first.
        let mut moves = vec![ArmTimer];
        moves.extend(allow);
        let why = "ufw is on already: only what is missing is added, and nothing about ssh.";
        let open = stage("allow", &title, why, moves);
        return vec![keep, arm, open, prove, disarm];
    }
    let mut moves = Vec::new();
    if before.ipv6_off {
        moves.push(Ipv6);
    }
    moves.extend(allow);
    let why = "ufw is off, so this changes nothing yet. The ports of ssh come first.";
    let open = stage("allow", &title, why, moves);
    let enable = stage(
        "enable",
        "Turn the firewall on, for a minute",
        "If no new connection comes in within a minute, the host turns it off again by itself.",
        vec![BootUnit, ArmTimer, Enable],
    );
    vec![keep, open, arm, enable, prove, disarm]
}

impl Move {
    /// Whether it runs only while the restore is armed, and never beside it.
    pub(crate) fn is_guarded(self, before: &Before) -> bool {
        match self {
            Move::Enable => true,
            Move::Allow(_) => before.active,
            _ => false,
        }
    }

    /// The move as shell over the prelude's functions, after [`opening`].
    pub(crate) fn shell(self, before: &Before) -> String {
        let guard = if self.is_guarded(before) {
            "guarded "
        } else {
            ""
        };
        match self {
            Move::Keep => KEEP.to_owned(),
            Move::Name => NAME.to_owned(),
            Move::Settle => "sync\n".to_owned(),
            Move::ArmBoot => ARM_BOOT.to_owned(),
            Move::ArmTimer => ARM_TIMER.replace("DEADMAN_S", &DEADMAN_S.to_string()),
            Move::Ipv6 => "sed -i 's/^IPV6=.*/IPV6=yes/' /etc/default/ufw\n\
                           grep -qx IPV6=yes /etc/default/ufw ||\n  \
                           echo IPV6=yes >>/etc/default/ufw\n"
                .to_owned(),
            Move::Allow(port) => {
                let what = if before.ssh_ports.contains(&port) {
                    "ssh"
                } else if port == 80 {
                    "http"
                } else {
                    "https"
                };
                format!("{guard}ufw allow {port}/tcp comment '{what}'\n")
            }
            Move::BootUnit => "enable_unit ufw.service\n".to_owned(),
            Move::Enable => [ENABLE_UNDO, guard, "ufw --force enable\n"].concat(),
            Move::Prove => "say 'a new connection came in'\n".to_owned(),
            Move::Commit => COMMIT.to_owned(),
            Move::Unarm => UNARM.to_owned(),
        }
    }
}

/// What every stage of the firewall's begins with: where things are, and the guard.
pub(crate) fn opening() -> String {
    format!(
        r#"firewall={PLACE}
kept=$(readlink "$firewall/armed" || :)
guarded() (
  exec 9>"$firewall/lock"
  flock -w {LOCK_S} 9 || fail "the firewall is being put back"
  [ -L "$firewall/armed" ] || fail "the host has put its firewall back by itself already"
  timeout -k 5 {COMMAND_S} "$@"
)
"#
    )
}

const KEEP: &str = r#"if [ -e "$firewall/armed" ] || [ -e "$firewall/restoring" ]; then
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
"#;

const NAME: &str = r#"mv -T "$new" "$firewall/$kept"
ln -sfn "$kept" "$firewall/next"
"#;

const ARM_BOOT: &str = r#"[ -L "$firewall/next" ] || fail "nothing has been kept"
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
"#;

const ARM_TIMER: &str = r#"systemctl reset-failed 'aureon-firewall-deadman.*' 2>/dev/null || :
systemd-run --quiet --collect --unit=aureon-firewall-deadman --on-active=DEADMAN_S \
  --timer-property=AccuracySec=1s /bin/sh "$firewall/restore"
systemctl is-active --quiet aureon-firewall-deadman.timer || fail "the timer does not run"
"#;

const ENABLE_UNDO: &str = r#"undo_by "[ ! -e $firewall/restore ] || sh $firewall/restore"
"#;

const COMMIT: &str = r#"late='the host has put its firewall back by itself: the proof came too late'
[ -n "$kept" ] || fail "$late"
(cd / && find etc/ufw etc/default/ufw -type f -exec sha256sum {} +) >"$firewall/$kept/after"
# The restore begins by renaming the same link: one of the two comes first.
mv -T "$firewall/armed" "$firewall/proved" || fail "$late"
"#;

const UNARM: &str = r#"systemctl stop aureon-firewall-deadman.timer 2>/dev/null || :
rm -f /etc/systemd/system/multi-user.target.wants/aureon-firewall-restore.service \
  /etc/systemd/system/aureon-firewall-restore.service "$firewall/proved"
systemctl daemon-reload
"#;

/// What the restore does, in order; each is a piece of the script [`restore_script`] and a
/// transition of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Back {
    /// Only one of restore and proof goes on.
    Claim,
    /// Whether ufw starts at boot: before its rules, because rules without ssh are a trap.
    Boot,
    /// A power cut from here on finds what was written.
    Settle,
    /// The rest of ufw's files.
    Files,
    /// The rules in the kernel.
    Live,
    /// What was armed is taken away: not before everything else is on the disk.
    Release,
    /// After an undo the copy loses its name: nobody looks for it from now on.
    Unname,
    /// Then it goes: not before, because a power cut would leave a part of it with a name.
    Forget,
}

/// The restore, whole.
pub(crate) const BACK: [Back; 11] = [
    Back::Claim,
    Back::Boot,
    Back::Settle,
    Back::Files,
    Back::Live,
    Back::Settle,
    Back::Release,
    Back::Settle,
    Back::Unname,
    Back::Settle,
    Back::Forget,
];

impl Back {
    fn shell(self) -> &'static str {
        match self {
            Back::Claim => CLAIM,
            Back::Boot => "put_back \"$kept/ufw/ufw.conf\" /etc/ufw/ufw.conf\n",
            Back::Settle => "sync\n",
            Back::Files => FILES,
            Back::Live => LIVE,
            Back::Release => RELEASE,
            Back::Unname => "[ \"$mode\" != undo ] || mv -T \"$kept\" \"$kept.new\"\n",
            Back::Forget => FORGET,
        }
    }
}

/// `/var/lib/aureon-operator/firewall/restore`.
pub(crate) fn restore_script() -> String {
    restore_script_of(&BACK)
}

fn restore_script_of(back: &[Back]) -> String {
    let mut script = RESTORE_OPENING.replace("LOCK_S", &LOCK_S.to_string());
    for piece in back {
        script.push('\n');
        script.push_str(piece.shell());
    }
    script.push_str("\nexit \"$bad\"\n");
    script
}

const RESTORE_OPENING: &str = r#"#!/bin/sh
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
flock -w LOCK_S 9 || :

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
"#;

const CLAIM: &str = r#"if [ "$mode" = undo ]; then
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
"#;

const FILES: &str = r#"put_back "$kept/default" /etc/default/ufw
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
"#;

const LIVE: &str = r#"if [ "$mode" = boot ]; then
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
"#;

const RELEASE: &str = r#"# What is not back yet is tried again at the next boot.
[ "$bad" = 0 ] || exit 1
rm -f "$firewall/restoring" "$firewall/next"
rm -f /etc/systemd/system/multi-user.target.wants/aureon-firewall-restore.service \
  /etc/systemd/system/aureon-firewall-restore.service
if [ "$mode" != boot ]; then
  systemctl stop aureon-firewall-deadman.timer 2>/dev/null
  systemctl daemon-reload
fi
"#;

const FORGET: &str = r#"[ "$mode" != undo ] || rm -rf "$kept.new" "$firewall/lock"
"#;
