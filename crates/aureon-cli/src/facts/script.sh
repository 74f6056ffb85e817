# What a host is like, for `aureon plan` and `aureon deploy`. It only reads. Each line of the answer is
# a name and fields, separated by tabs; a field that may hold anything is in base64. What asks is
# put below this text: a line for each file, unit and package.
export LC_ALL=C
: "${file_bytes_max:=262144}"
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
tab=$(printf '\t')
fact() { (IFS=$tab; printf '%s\n' "$*"); }
have() { command -v "$1" >/dev/null 2>&1; }
have_systemd() { [ -d /run/systemd/system ] && have systemctl; }
encode() { base64 | tr -d '\n'; }

system_facts() {
  # In a shell of its own: the file sets variables.
  (
    ID='' VERSION_ID=''
    # shellcheck source=/dev/null
    [ ! -r /etc/os-release ] || . /etc/os-release
    fact system "$ID"
    fact system_version "$VERSION_ID"
  )
  fact architecture "$(uname -m)"
  fact glibc "$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/^glibc //')"
  if [ -d /run/systemd/system ]; then
    fact systemd "$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')"
  else
    fact systemd 0
  fi
  fact memory_bytes "$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo | awk '{ printf "%.0f", $1 * 1024 }')"
  # The smaller of the two file systems, which usually are one.
  fact disk_free_bytes "$(df -Pk /opt /var 2>/dev/null |
    awk 'NR > 1 && (!found || $4 < least) { least = $4; found = 1 } END { printf "%.0f", least * 1024 }')"
  fact time_s "$(date +%s)"
  fact time_synchronised "$(timedatectl show --property=NTPSynchronized --value 2>/dev/null)"
  fact user "${SUDO_USER:-$(id -un)}"
}

# Every port on which somebody who comes now by ssh may be let in.
ssh_facts() {
  # Where this very session came in: client's address and port, ours.
  # shellcheck disable=SC2086
  set -- ${SSH_CONNECTION:-}
  [ $# -lt 4 ] || fact ssh_port "$4" session
  if have sshd; then
    sshd -T 2>/dev/null | sed -n 's/^port \([0-9]*\)$/\1/p' | while read -r port; do
      fact ssh_port "$port" sshd
    done
  fi
  if have_systemd && systemctl is-active --quiet ssh.socket; then
    systemctl show ssh.socket --property=Listen --value 2>/dev/null |
      sed -n 's/.*[:]\([0-9][0-9]*\) (Stream).*/\1/p; s/^\([0-9][0-9]*\) (Stream).*/\1/p' | while read -r port; do
      fact ssh_port "$port" ssh.socket
    done
  fi
}

network_facts() {
  if have ss; then
    ss -Hltnp 2>/dev/null | while read -r _ _ _ address _ program; do
      fact listener "$address" "$(printf '%s' "$program" | sed -n 's/^users:(("\([^"]*\)".*/\1/p')"
    done
  else
    # Addresses in hexadecimal, without the program.
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ address _ state _; do
      [ "$state" != 0A ] || fact listener_hex "$address"
    done
  fi
  [ ! -e /proc/net/if_inet6 ] || fact ipv6
  if have ip; then
    ip -o address show scope global 2>/dev/null | while read -r _ _ _ address _; do
      fact address "${address%%/*}"
    done
  else
    for address in $(hostname -I 2>/dev/null); do fact address "$address"; done
  fi
  if have docker; then
    docker ps --format '{{.Names}} {{.Ports}}' 2>/dev/null | while read -r name ports; do
      fact docker "$ports" "$name"
    done
  fi
}

firewall_facts() {
  if have ufw; then
    fact ufw installed
    ! ufw status 2>/dev/null | grep -q '^Status: active' || fact ufw active
    ufw show added 2>/dev/null | sed -n 's/^ufw //p' | while read -r rule; do fact ufw_rule "$rule"; done
  fi
  if have_systemd; then
    for other in firewalld nftables netfilter-persistent; do
      ! systemctl is-active --quiet "$other.service" || fact firewall "$other"
    done
  fi
}

# Names that Nginx answers to already, by file; what a line of comment says is none.
nginx_facts() {
  if have nginx; then
    fact nginx_version "$(nginx -v 2>&1 | sed -n 's,^nginx version: nginx/\([0-9]*\.[0-9]*\).*,\1,p')"
  elif have apt-cache; then
    offered=$(apt-cache policy nginx 2>/dev/null |
      sed -n 's/^ *Candidate: \([0-9]*:\)\{0,1\}\([0-9]*\.[0-9]*\)\..*/\2/p')
    [ -z "$offered" ] || fact nginx_offered "$offered"
  fi
  # Debian's sample site, as the package brought it.
  stock=/etc/nginx/sites-available/default
  if [ "$(readlink -f /etc/nginx/sites-enabled/default)" = "$stock" ] && have dpkg-query; then
    sum=$(md5sum "$stock" | cut -d ' ' -f 1)
    ! dpkg-query -W -f '${Conffiles}\n' nginx-common 2>/dev/null | grep -qF " $stock $sum" ||
      fact nginx_stock_default
  fi
  for site in /etc/nginx/sites-enabled/* /etc/nginx/conf.d/*.conf; do
    [ -f "$site" ] || continue
    sed 's/#.*//' "$site" | tr '\n\t' ' ' | tr ';{}' '\n' | sed -n 's/^ *server_name  *//p' |
      tr -s ' ' '\n' | while read -r name; do
      [ -z "$name" ] || fact nginx_name "$name" "$site"
    done
    ! sed 's/#.*//' "$site" | grep -q 'listen[^;]*default_server' || fact nginx_default "$site"
  done
}

# One application: its releases, which is current, the port it has, secrets by name alone.
app_facts() {
  for release in /opt/aureon/releases/"$1"-[0-9]*; do
    [ -d "$release" ] || continue
    fact release "${release##*/}"
    # How it is run and asked whether it is healthy; one of an older operator does not say.
    if [ -r "$release.runs" ] && read -r kind seconds path <"$release.runs"; then
      fact release_runs "${release##*/}" "$kind" "$seconds" "$(printf '%s' "$path" | encode)"
    fi
  done
  if [ -L "/opt/aureon/current/$1" ]; then
    current=$(readlink "/opt/aureon/current/$1")
    fact current "${current##*/}"
  fi
  if [ -L "/opt/aureon/previous/$1" ]; then
    previous=$(readlink "/opt/aureon/previous/$1")
    fact previous "${previous##*/}"
  fi
  port=$(sed -n 's/^ListenStream=127\.0\.0\.1:\([0-9]*\)$/\1/p' "/etc/systemd/system/aureon-$1.socket" 2>/dev/null | head -n 1)
  if [ -z "$port" ] && have_systemd; then
    port=$(systemctl list-units --plain --no-legend --state=active "aureon-$1@*.service" 2>/dev/null |
      sed -n 's/^aureon-.*@\([0-9]*\)\.service .*/\1/p' | head -n 1)
  fi
  [ -z "$port" ] || fact app_port "$port"
  if [ -r "/etc/aureon/$1/secrets.env" ]; then
    sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' "/etc/aureon/$1/secrets.env" | while read -r name; do
      fact secret "$name"
    done
  fi
}

# A run of ours that was begun and has no end.
journal_facts() {
  for run in /var/lib/aureon-operator/journal/*/; do
    [ -d "$run" ] || continue
    run=${run%/}
    fact run "${run##*/}"
    # One that was being undone is not at its end either.
    if [ ! -e "$run/finished" ] || [ -e "$run/undoing" ]; then fact unfinished "${run##*/}"; fi
  done
}

file_fact() {
  if [ -L "$1" ]; then
    fact file "$1" link "$(stat -c '%a' "$1")" "$(stat -c '%U:%G' "$1")" "$(readlink "$1" | encode)"
  elif [ -f "$1" ]; then
    size=$(stat -c '%s' "$1")
    if [ "$size" -gt "$file_bytes_max" ]; then
      fact file "$1" large "$(stat -c '%a' "$1")" "$(stat -c '%U:%G' "$1")" "$size"
    else
      fact file "$1" file "$(stat -c '%a' "$1")" "$(stat -c '%U:%G' "$1")" "$(encode <"$1")"
    fi
  elif [ -d "$1" ]; then
    fact file "$1" directory "$(stat -c '%a' "$1")" "$(stat -c '%U:%G' "$1")" ''
  else
    fact file "$1" none 0 '' ''
  fi
}

unit_fact() {
  if have_systemd; then
    fact unit "$1" "$(systemctl is-enabled "$1" 2>/dev/null)" "$(systemctl is-active "$1" 2>/dev/null)"
  else
    fact unit "$1" '' ''
  fi
}

package_fact() {
  ! have dpkg-query || [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" != installed ] ||
    fact package "$1"
}

certificate_fact() {
  [ -r "$1" ] && have openssl || return 0
  ends=$(openssl x509 -in "$1" -noout -enddate 2>/dev/null | sed 's/^notAfter=//')
  names=$(openssl x509 -in "$1" -noout -ext subjectAltName 2>/dev/null | tr ',' '\n' |
    sed -n 's/^ *DNS://p' | tr '\n' ' ')
  [ -z "$ends" ] || fact certificate "$1" "$(date -d "$ends" +%s)" "$names"
}
