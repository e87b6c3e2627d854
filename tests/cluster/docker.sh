#!/usr/bin/env bash
# Makes Docker usable and changes nothing where it already is. As root on Debian or Ubuntu without a daemon it installs
# docker.io and starts dockerd detached; elsewhere it says what to install.
# No file of Docker's configuration is written: what a machine without CAP_SYS_RESOURCE needs is given as flags.
. "$(dirname "$0")/lib.sh"
log=$CACHE/docker/dockerd.log

usable() {
  has_sys_resource || [ "$(docker info -f '{{.DefaultRuntime}}')" != runc ] || die "this machine withholds CAP_SYS_RESOURCE, so \
privileged containers (the nodes of kind) need the wrapper $HERE/host/runc-bounded as Docker's default runtime: stop dockerd \
and run $0, or put the wrapper into its configuration"
}

if docker_works; then usable; exit 0; fi

if command -v systemctl > /dev/null && [ -d /run/systemd/system ] && [ "$(id -u)" = 0 ] && systemctl cat docker > /dev/null 2>&1; then
  say "starting Docker with systemctl"
  systemctl start docker
  if docker_works; then usable; exit 0; fi
fi
can_apt || die "no Docker daemon answers: install Docker (Docker Desktop, or docker.io on Debian), start it, and let this user reach it"

if ! command -v dockerd > /dev/null || ! command -v iptables > /dev/null; then
  say "installing docker.io (about 30 s)"
  apt_install docker.io iptables pigz python3
fi
mkdir -p "${log%/*}"
flags=()
if ! has_sys_resource; then
  say "CAP_SYS_RESOURCE is withheld here: containers run through host/runc-bounded, which does not ask for it"
  # a copy: containers outlive this checkout
  install -m755 "$HERE/host/runc-bounded" "${log%/*}/runc-bounded"
  flags=(--add-runtime "bounded=${log%/*}/runc-bounded" --default-runtime bounded)
fi
say "starting dockerd, detached; log: $log"
rm -f /var/run/docker.pid
setsid nohup dockerd "${flags[@]}" >> "$log" 2>&1 < /dev/null &
for _ in $(seq 60); do
  if docker_works; then
    say "dockerd $(docker version -f '{{.Server.Version}}') runs, pid $(cat /var/run/docker.pid)"
    exit 0
  fi
  sleep 0.5
done
tail -5 "$log" >&2
die "dockerd did not answer within 30 s; see $log"
