#!/usr/bin/env bash
# Looks at everything that `up` needs, before any work starts, and says it in one table. Ends with 1 when something is missing
# that `up` cannot get by itself.
. "$(dirname "$0")/lib.sh"
problems=()
row() { printf '  %-12s %-38s %-34s %s\n' "$@" >&2; }
# missing NAME HAVE NEED HOW-TO
missing() { row "$1" "$2" "$3" MISSING; problems+=("$1: $4"); }
# need NAME HAVE NEED HOW-TO TEST...: missing unless the command TEST succeeds
need() { if "${@:5}"; then row "$1" "$2" "$3" ok; else missing "${@:1:4}"; fi; }
# shellcheck disable=SC2317  # called through need
have_all() { local path; for path in "$@"; do [ -e "$path" ] || return 1; done; }
number() { grep -oE '[0-9]+(\.[0-9]+)+' | head -1; }
gib_free() { df -Pk "$1" 2> /dev/null | awk 'NR == 2 {print int($4 / 1048576)}'; }
memory_gib() {
  if [ -r /proc/meminfo ]; then awk '/^MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo
  else docker info -f '{{.MemTotal}}' | awk '{print int($1 / 1073741824)}'; fi
}

mkdir -p "$CACHE"
row "" have need ""
have=$(python3 --version 2> /dev/null | number || true)
need python3 "${have:-none}" 3.11 "install Python 3.11 or newer (Debian: apt-get install python3 python3-venv)" at_least "$have" 3.11
have=$(make --version 2> /dev/null | number || true)
need make "${have:-none}" any "install make (Debian: apt-get install make)" [ -n "$have" ]

daemon=no
if docker_works; then
  daemon=yes have=$(docker version -f '{{.Server.Version}}' | number)
  need docker "daemon $have" 20.10 "update Docker" at_least "$have" 20.10
elif can_apt; then
  row docker "no daemon" 20.10 "docker.io will be installed and started"
else
  missing docker "no daemon answers" 20.10 "install Docker (Docker Desktop, or docker.io) and start it; this user has to reach it"
fi
if has_sys_resource; then row privileged "all capabilities" "" ok
elif [ "$daemon" = no ] || [ "$(docker info -f '{{.DefaultRuntime}}')" != runc ]; then
  row privileged "CAP_SYS_RESOURCE withheld (bit 24)" "a runtime that does not ask for it" "ok (host/runc-bounded)"
else
  missing privileged "CAP_SYS_RESOURCE withheld (bit 24)" "a runtime that does not ask for it" \
    "stop dockerd and let $HERE/docker.sh start it, or make $HERE/host/runc-bounded its default runtime"
fi
if [ -r /proc/self/cgroup ]; then
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    have="v2: $(cat /sys/fs/cgroup/cgroup.controllers)"
    need cgroups "${have:0:37}" "cpu, memory, pids" "enable these controllers (kernel command line)" grep -q 'cpu.*memory.*pids' <<< "$have"
  else
    need cgroups v1 "cpu, memory, pids" "mount these cgroup controllers" have_all /sys/fs/cgroup/{cpu,memory,pids}
  fi
  have=$(cat /proc/sys/fs/inotify/max_user_instances)
  wanted=$((40 * (WORKERS + 1)))
  need inotify "$have instances" "$wanted" "sysctl fs.inotify.max_user_instances=512" [ "$have" -ge "$wanted" ]
fi

# what has to be made here decides how much else is needed
image=$("$HERE/node-image.sh" --if-there 2> /dev/null || true)
disk=12 memory=3
if [ -n "$(docker ps -q --filter "name=^$CLUSTER-control-plane$" 2> /dev/null)" ]; then disk=2 memory=1; fi
if [ "$daemon" = no ]; then row "node image" "known when Docker runs" "" ""
elif [ -n "$image" ]; then row "node image" "${image:0:37}" "" ok
elif registry_has "$OFFICIAL_NODE"; then row "node image" "a registry answers" "" "will be pulled (450 MB)"
else
  disk=35
  row "node image" "no registry answers" "" "will be made (about 15 minutes)"
  have=$(go env GOVERSION 2> /dev/null | number || true)
  need go "${have:-none}" "1.24 (no registry answers)" "install Go 1.24 or newer, or let Docker reach a registry" at_least "$have" 1.24
  if command -v debootstrap > /dev/null || can_apt; then row debootstrap "$(command -v debootstrap || echo "with apt-get")" "no registry answers" ok
  else missing debootstrap none "no registry answers" "a base image can be made by root on Debian only: let Docker reach a registry"; fi
fi
if kind=$(find_kind); then row kind "$("$kind" version | number)" "$KIND_VERSION" ok
elif command -v go > /dev/null; then row kind none "$KIND_VERSION" "will be built (about 30 s)"
else missing kind none "$KIND_VERSION" "install kind $KIND_VERSION or newer, or Go 1.24 so that it can be built"; fi
if kubectl=$(find_kubectl); then row kubectl "$kubectl" "1.33 to 1.35" ok
elif [ "$(uname -s)" = Linux ]; then row kubectl "none of these versions" "1.33 to 1.35" "will be taken from the node image"
else missing kubectl none "1.33 to 1.35" "install kubectl 1.34"; fi

have=$(memory_gib)
need memory "$have GiB available" "$memory GiB (8 before the e2e tests)" "free some memory" [ "$have" -ge "$memory" ]
have=$(gib_free "$CACHE")
need disk "$have GiB free" "$disk GiB" "free some space under $CACHE and /var/lib/docker" [ "$have" -ge "$disk" ]

[ ${#problems[@]} -gt 0 ] || exit 0
printf '\nmissing:\n' >&2
printf '  - %s\n' "${problems[@]}" >&2
exit 1
