# Makes the directory of the shared connection, and prints its name. Runs here, on the user's
# machine: on Linux, macOS or another Unix.
#
#   sh -c … sh BENEATH PROCESS
#
# An operator that was killed leaves its directory behind, empty once the client has ended the
# connection. What is taken away is ours by owner and name, of a process that is no more, and
# empty: rmdir takes nothing else, so that whoever is mistaken for dead keeps his connection.
for left in "$1"/aureon-*-??????????; do
  process=${left#"$1"/aureon-}
  process=${process%-*}
  case $process in '' | *[!0-9]*) continue ;; esac
  kill -0 "$process" && continue
  # A link is no directory for find.
  [ -z "$(find "$left" -prune -type d -user "$(id -u)")" ] || rmdir "$left"
done 2>/dev/null
exec mktemp -d "$1/aureon-$2-XXXXXXXXXX"
