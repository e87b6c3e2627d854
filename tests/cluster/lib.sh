# Names and helpers that the scripts of this folder share. Sourced, never run.
# shellcheck shell=bash disable=SC2034  # most names are used by the scripts that source this
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CLUSTER=${XDIT_CLUSTER:-xdit}
CACHE=${XDIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/xdit-operator}
KUBECONFIG_FILE=${XDIT_KUBECONFIG:-$CACHE/kubeconfig${XDIT_CLUSTER:+-$XDIT_CLUSTER}}
TOOLS=$CACHE/tools      # kind and kubectl of a version that suits, as links or copies
SHARED=$CACHE/shared${XDIT_CLUSTER:+-$XDIT_CLUSTER}    # mounted as /shared into every node

# progress: what happens and how long it takes; errors: one sentence, then the end
say() { printf '%s  %s\n' "$(date +%T)" "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# runs a command; its output is shown only when it fails
quietly() {
  local output
  output=$("$@" 2>&1) || { printf '%s\n' "$output" | tail -40 >&2; die "failed: $*"; }
}

# the first 12 digits of the sha256 of standard input
digest() { if command -v sha256sum > /dev/null; then sha256sum; else shasum -a 256; fi | cut -c1-12; }

# is $1 (like 1.24.3 or v1.24.3) the version $2 or later?
at_least() { [ "$(printf '%s\n' "${2#v}" "${1#v}" | sort -V | head -1)" = "${2#v}" ]; }

# does a registry answer for image $1 within 10 s?
registry_has() { timeout 10 docker manifest inspect "$1" > /dev/null 2>&1; }

docker_works() { timeout 10 docker info > /dev/null 2>&1; }

# false where this machine withholds CAP_SYS_RESOURCE (24), which privileged containers ask for
has_sys_resource() {
  [ -r /proc/self/status ] || return 0
  (( 16#$(awk '/^CapBnd/ {print $2}' /proc/self/status) >> 24 & 1 ))
}

# may this script install Debian packages?
can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; }
apt_install() { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" > /dev/null; }

kubectl() { "$TOOLS/kubectl" --kubeconfig "$KUBECONFIG_FILE" "$@"; }

WORKERS=${WORKERS:-1}
KIND_VERSION=0.30.0
# the node image that this kind was released with
OFFICIAL_NODE=kindest/node:v1.34.0@sha256:7416a61b42b1662ca6ca89f02028ac133a309a2a30ba309614e8ec94d976dc5a

# prints a kind that is new enough: on PATH, or built before
find_kind() {
  local candidate version
  for candidate in "$(command -v kind)" "$TOOLS/kind"; do
    [ -x "$candidate" ] || continue
    version=$("$candidate" version -q 2> /dev/null) || continue
    if at_least "$version" "$KIND_VERSION"; then echo "$candidate"; return; fi
  done
  return 1
}

# prints a kubectl of a version that suits the cluster: on PATH, or taken from a node before
find_kubectl() {
  local candidate version
  for candidate in "$(type -P kubectl)" "$TOOLS/kubectl"; do
    [ -x "$candidate" ] || continue
    version=$("$candidate" version --client 2> /dev/null | sed -n 's/^Client Version: v\([0-9.]*\).*/\1/p') || continue
    if at_least "$version" 1.33 && ! at_least "$version" 1.36; then echo "$candidate"; return; fi
  done
  return 1
}
