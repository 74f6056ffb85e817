//! Programs of Debian that a plan calls, over a directory: apt, dpkg, systemctl and what is asked
//! of nginx. They do below the root what the real ones do to a machine, as far as a plan can tell.

use super::scratch::Scratch;

/// A small archive: nginx and certbot both need `libcommon`; `vim` needs what certbot brings.
const APT: &str = r#"#!/bin/sh
# Words that are no options: the verb and the packages.
simulate=
packages=$SCRATCH/packages
mkdir -p "$packages"
needs() {
  case $1 in
    nginx) echo nginx-common libcommon ;;
    certbot) echo python3-certbot libcommon ;;
    vim) echo python3-certbot ;;
  esac
}
nginx_files() {
  nginx=$AUREON_ROOT/etc/nginx
  umask 022
  mkdir -p "$nginx/conf.d" "$nginx/snippets" "$nginx/sites-available" "$nginx/sites-enabled"
  mkdir -p "$AUREON_ROOT/var/www/html"
  echo 'include /etc/nginx/sites-enabled/*;' >"$nginx/nginx.conf"
  echo 'server { listen 80 default_server; }' >"$nginx/sites-available/default"
  ln -s /etc/nginx/sites-available/default "$nginx/sites-enabled/default"
  echo hello >"$AUREON_ROOT/var/www/html/index.nginx-debian.html"
}
for word; do
  shift
  case $word in
    -s) simulate=yes ;;
    -*=* | -q | -y | --no-*) ;;
    -o) skip=yes ;;
    *) if [ -n "${skip-}" ]; then skip=; else set -- "$@" "$word"; fi ;;
  esac
done
verb=$1
shift
echo "$verb $*" >>"$SCRATCH/apt.log"
case $verb in
  update) touch "$SCRATCH/lists" ;;
  install)
    [ -e "$SCRATCH/lists" ] || { echo "E: Unable to locate package $1" >&2; exit 100; }
    [ -z "$simulate" ] && [ -e "$SCRATCH/apt.fails" ] && { rm "$SCRATCH/apt.fails"; exit 100; }
    for name in $(for name; do needs "$name"; echo "$name"; done | tr ' ' '\n' | sort -u); do
      [ ! -e "$packages/$name" ] || continue
      if [ -n "$simulate" ]; then echo "Inst $name (1.0 Debian:12 [amd64])"; continue; fi
      [ -e "$AUREON_ROOT/usr/sbin/policy-rc.d" ] || touch "$SCRATCH/started-by-surprise"
      mkdir -p "$AUREON_ROOT/usr/share/$name"
      echo "$name" >"$AUREON_ROOT/usr/share/$name/file"
      [ "$name" != nginx-common ] || nginx_files
      touch "$packages/$name"
    done ;;
  purge)
    all=" $* "
    for other in "$packages"/*; do
      for name; do
        case " $(needs "${other##*/}") " in
          *" $name "*) case $all in *" ${other##*/} "*) ;; *) all="$all${other##*/} " ;; esac ;;
        esac
      done
    done
    for name in $all; do
      [ -e "$packages/$name" ] || continue
      if [ -n "$simulate" ]; then echo "Purg $name [1.0]"; continue; fi
      rm -rf "$AUREON_ROOT/usr/share/$name"
      [ "$name" != nginx-common ] || rm -rf "$AUREON_ROOT/etc/nginx"
      rm "$packages/$name"
    done ;;
esac
"#;

const DPKG_QUERY: &str = r#"#!/bin/sh
for name; do :; done
[ -e "$SCRATCH/packages/$name" ] || exit 1
printf installed
"#;

const SYSTEMCTL: &str = r#"#!/bin/sh
units=$AUREON_ROOT/etc/systemd/system
running=$SCRATCH/running
mkdir -p "$running"
for word; do
  shift
  case $word in --*) ;; *) set -- "$@" "$word" ;; esac
done
verb=$1
shift
echo "$verb $*" >>"$SCRATCH/systemctl.log"
for unit; do
  case $verb in
    is-enabled) [ -L "$units/multi-user.target.wants/$unit" ] || exit 1 ;;
    is-active) [ -e "$running/$unit" ] || exit 3 ;;
    enable)
      [ -e "$units/$unit" ] || [ -e "$SCRATCH/packages/${unit%.*}" ] || exit 1
      mkdir -p "$units/multi-user.target.wants"
      ln -sf "../$unit" "$units/multi-user.target.wants/$unit" ;;
    disable)
      rm -f "$units/multi-user.target.wants/$unit"
      rmdir "$units/multi-user.target.wants" 2>/dev/null ;;
    start | restart) touch "$running/$unit" ;;
    stop) rm -f "$running/$unit" ;;
  esac
done
exit 0
"#;

/// A fresh Debian: directories and no packages; nothing that is called here reaches the machine.
pub(crate) fn debian() -> Scratch {
    let host = Scratch::new();
    host.prepare(
        "umask 022
mkdir -p etc/systemd/system etc/default opt run srv usr/sbin usr/share var
printf 'debian\\n' >etc/hostname
find . -depth -exec touch -h -d '2020-02-02 02:02:02.123456789' {} +",
    );
    host.program("apt-get", APT);
    host.program("dpkg-query", DPKG_QUERY);
    host.program("systemctl", SYSTEMCTL);
    for name in ["dpkg", "journalctl", "nginx", "ufw", "systemd-run"] {
        host.program(name, "#!/bin/sh\n");
    }
    // Who is not root can not give files away: all are the tester's.
    host.program(
        "chown",
        "#!/bin/sh\n[ \"$(id -u)\" != 0 ] || exec /usr/bin/chown \"$@\"\n",
    );
    host
}
