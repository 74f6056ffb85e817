# ---- Certificates (plan/certificate.rs)

# certificate_token FILE TEXT: where the authority's challenges will lie, for everybody to read.
certificate_token() (
  undo_by "certificate_token_away $1"
  umask 022
  mkdir -p "${1%/*}"
  printf '%s\n' "$2" >"$1"
)

# certificate_token_away FILE: with the directories that are empty without it, as certbot does.
certificate_token_away() (
  rm -f "$1"
  rmdir "${1%/*}" "${1%/*/*}" 2>/dev/null || :
)

# certificate_issue NAME OPTION…: by certbot, through the webroot of our sites.
certificate_issue() (
  name=$1
  shift
  # What certbot makes here besides is removed again if it was not there before.
  # shellcheck disable=SC2012 # certbot's own names
  before=$(cd /etc/letsencrypt && ls -A | tr '\n' ' ')
  made=
  for directory in /var/lib/letsencrypt /var/log/letsencrypt; do
    [ -e "$directory" ] || made="$made $directory"
  done
  undo_by "certificate_back $name '$before' '$made'"
  keep_time /etc/letsencrypt /var/lib /var/log
  # The deploy hook is kept by certbot and runs after each renewal.
  certbot certonly --non-interactive --agree-tos --webroot -w /var/www/aureon-acme \
    --cert-name "$name" --key-type ecdsa --keep-until-expiring --renew-with-new-domains \
    --deploy-hook 'nginx -t -q && systemctl reload nginx.service' "$@" </dev/null ||
    fail "certbot got no certificate: see above, and /var/log/letsencrypt/letsencrypt.log"
  say "the certificate is in /etc/letsencrypt/live/$name"
)

# certificate_rehearse NAME OPTION…: whether a renewal would work. Without --no-random-sleep-on-renew
# certbot waits up to eight minutes first.
certificate_rehearse() (
  name=$1
  shift
  certbot renew --dry-run --non-interactive --no-random-sleep-on-renew --cert-name "$name" "$@" \
    </dev/null || fail "the certificate could not be renewed: see above"
  say "a renewal works"
)

# certificate_back NAME BEFORE MADE: what was there before in /etc/letsencrypt stays, and everything
# if somebody else has a certificate there by now. MADE are directories that certbot has made.
certificate_back() (
  [ -d /etc/letsencrypt ] || exit 0
  if [ -e "/etc/letsencrypt/renewal/$1.conf" ]; then
    certbot delete --non-interactive --cert-name "$1" </dev/null || fail "certbot does not delete $1"
  fi
  rm -rf "/etc/letsencrypt/live/$1" "/etc/letsencrypt/archive/$1"
  for other in /etc/letsencrypt/renewal/*.conf; do
    [ ! -e "$other" ] || exit 0
  done
  for there in /etc/letsencrypt/* /etc/letsencrypt/.[!.]*; do
    case " $2 " in
      *" ${there##*/} "*) ;;
      *) rm -rf "$there" ;;
    esac
  done
  for there in $3; do
    rm -rf "$there"
  done
)

# certificate_public URL: asks it as anybody would, and leaves what came back in $status.
certificate_public() {
  status=
  if ! command -v curl >/dev/null; then
    say "curl is not on the host: nobody has asked $1"
    return 0
  fi
  answer=$(curl -sS --max-time 20 --max-filesize 1048576 -w '\n%{http_code}' "$1") ||
    fail "$1 is not answered"
  status=${answer##*
}
  case $answer in
    *"Cloudflare is set to Flexible"*)
      fail "cloudflare/flexible: Cloudflare asks this host on port 80 for what it was asked for by HTTPS. Set SSL/TLS at Cloudflare to Full (strict)"
      ;;
  esac
  say "$1: $status"
}

# certificate_fits DIRECTORY: its certificate and its key belong together.
certificate_fits() (
  if command -v openssl >/dev/null; then
    of_chain=$(openssl x509 -in "$1/fullchain.pem" -noout -pubkey) || fail "the certificate is none"
    of_key=$(openssl pkey -in "$1/privkey.pem" -pubout </dev/null) || fail "the key is none"
    [ "$of_chain" = "$of_key" ] || fail "the key is not the certificate's"
  fi
)
