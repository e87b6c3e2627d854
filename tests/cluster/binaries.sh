#!/usr/bin/env bash
# binaries.sh [--names] PROGRAM...   PROGRAM: a folder of modules/
# Builds the programs of a Kubernetes node, and kind, from Go modules: for machines where no image registry answers.
# Versions and checksums are those of modules/PROGRAM/go.mod and go.sum. Prints, a line each, the folder with what was built;
# a folder is kept as long as nothing that it was made from changes. With --names nothing is built.
. "$(dirname "$0")/lib.sh"

package() {
  case $1 in
    coredns) echo github.com/coredns/coredns ;;
    crictl) echo sigs.k8s.io/cri-tools/cmd/crictl ;;
    etcd) echo go.etcd.io/etcd/server/v3 ;;
    kind) echo sigs.k8s.io/kind ;;
    kube-router) echo github.com/cloudnativelabs/kube-router/v2/cmd/kube-router ;;
    kubernetes) printf 'k8s.io/kubernetes/cmd/%s ' kubeadm kubelet kubectl kube-apiserver kube-controller-manager kube-scheduler kube-proxy ;;
    local-path-provisioner) echo github.com/rancher/local-path-provisioner ;;
    *) die "no program $1 in modules/" ;;
  esac
}

cpu_time() {
  case $1 in
    coredns | kube-router) echo "3 minutes of CPU" ;;
    local-path-provisioner) echo "2 minutes of CPU" ;;
    kubernetes) echo "12 minutes of CPU" ;;
    *) echo "under a minute" ;;
  esac
}

link_flags() {
  local version v=k8s.io/component-base/version
  printf -- '-s -w'
  [ "$1" = kubernetes ] || return 0
  # kubeadm takes the version of its images from here
  version=$(awk '$2 == "k8s.io/kubernetes" {print $3}' "$HERE/modules/kubernetes/go.mod")
  printf -- " -X $v.%s" "gitVersion=$version" gitMajor=1 "gitMinor=$(cut -d. -f2 <<< "$version")" gitTreeState=clean \
    "gitCommit=$(printf '0%.0s' {1..40})" buildDate=2026-01-01T00:00:00Z
}

build() {
  local target=$1 name=$2 work package_list flags
  say "building $name ($(cpu_time "$name"))"
  work=$(mktemp -d "$CACHE/build.XXXXXX")
  cp "$HERE/modules/$name"/go.* "$work/"
  mkdir "$work/out"
  read -ra package_list <<< "$(package "$name")"
  flags=$(link_flags "$name")
  # -mod=mod: go.mod names the program alone, the rest of the list is worked out again and checked against go.sum
  # GOCACHE: 8 GB that nothing else needs, removed at the end
  (cd "$work" && CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-buildvcs=false GOCACHE="$CACHE/go-build" \
    GONOSUMDB=github.com/cloudnativelabs,sigs.k8s.io/cri-tools \
    nice go build -mod=mod -trimpath -ldflags "$flags" -o out/ "${package_list[@]}") || { rm -rf "$work"; die "building $name failed"; }
  [ "$name" != etcd ] || mv "$work/out/server" "$work/out/etcd"
  cmp -s "$work/go.sum" "$HERE/modules/$name/go.sum" || say "note: go.sum of $name grew; checksums of the new lines came from the checksum database"
  rm -rf "$target" "${target%-*}"-*
  mv "$work/out" "$target"
  rm -rf "$work"
}

names_only=
if [ "${1:-}" = --names ]; then names_only=yes; shift; fi
mkdir -p "$CACHE/bin"
trap 'rm -rf "$CACHE/go-build"' EXIT
for name in "$@"; do
  target=$CACHE/bin/$name-$({ package "$name"; link_flags "$name"; cat "$HERE/modules/$name"/go.*; } | digest)
  [ -d "$target" ] || [ -n "$names_only" ] || build "$target" "$name"
  echo "$target"
done
