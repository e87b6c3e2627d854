#!/bin/bash
# Runs inside the image build: puts the Kubernetes binaries and the images that kubeadm and kind want into the node.
set -euo pipefail
cd /stage
install -m755 kubeadm kubelet kubectl /usr/bin/
[ ! -e crictl ] || install -m755 crictl /usr/local/bin/
version=$(kubeadm version -o short)
mkdir -p /kind/manifests
printf %s "$version" > /kind/version
cp cni.yaml /kind/manifests/default-cni.yaml
cp storage.yaml /kind/manifests/default-storage.yaml

containerd > /tmp/containerd.log 2>&1 & pid=$!
for _ in $(seq 50); do ctr version > /dev/null 2>&1 && break; sleep 0.2; done

layer() { # DIR -> prints "diff_id"; file layers/<diff_id>.tar.gz
  mkdir -p /tmp/layers; tar --numeric-owner --sort=name --mtime=@0 -C "$1" -cf /tmp/l.tar .
  local id; id=$(sha256sum < /tmp/l.tar | cut -c1-64)
  pigz -1 < /tmp/l.tar > "/tmp/layers/$id.tar.gz"; rm /tmp/l.tar; echo "$id"
}
# the small userland below every image: a shell, coreutils, iptables, ip, ipset, with their libraries
mkdir -p /tmp/base/{usr/{bin,sbin,lib,lib64,local/bin},tmp,etc,var,run,proc,sys,dev,root}; chmod 1777 /tmp/base/tmp
for l in bin sbin lib lib64; do ln -s usr/$l /tmp/base/$l; done
for b in sh cat cp ls mkdir rm sleep touch chmod ip ipset conntrack nft sysctl xtables-nft-multi xtables-legacy-multi; do
  echo "$b $(readlink -f "$(command -v $b)")"
done > /tmp/links
{ cut -d' ' -f2 /tmp/links; ls /usr/lib/x86_64-linux-gnu/xtables/*.so; } > /tmp/files
# the match modules are in the list for their own libraries: without libm kube-proxy cannot load a rule with two endpoints
{ cat /tmp/files; xargs ldd < /tmp/files 2> /dev/null | grep -o '[[:space:]]/[^ :]* (' | tr -d '\t ('; } | sort -u |
  while read -r f; do cp -L --parents "$f" /tmp/base/; done
while read -r b f; do [ -e "/tmp/base/usr/bin/$b" ] || ln -sf "$f" "/tmp/base/usr/bin/$b"; done < /tmp/links
for t in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do ln -s xtables-nft-multi /tmp/base/usr/sbin/$t; done
cp -r --parents /etc/iproute2 /etc/protocols /etc/services /tmp/base/ 2> /dev/null || true
cp cni.conflist /tmp/base/etc/kube-router.conflist
# kube-router gives up on bridge netfilter when modprobe fails; kernels without modules have it built in
install -m755 /bin/true /tmp/base/usr/sbin/modprobe
base=$(layer /tmp/base)

img() { # NAME ENTRYPOINT-JSON [BINARY]
  local ids=$base d; d=$(mktemp -d)
  if [ $# = 3 ]; then mkdir -p "$d/r/usr/local/bin"; install -m755 "$3" "$d/r/usr/local/bin/"; ids="$base $(layer "$d/r")"; fi
  jq -n --arg ids "$ids" --argjson e "$2" '{architecture:"amd64",os:"linux",
    config:{Entrypoint:$e,Env:["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
    rootfs:{type:"layers",diff_ids:($ids|split(" ")|map("sha256:"+.))}}' > /tmp/layers/config.json
  jq -n --arg ids "$ids" --arg n "$1" '[{Config:"config.json",RepoTags:[$n],Layers:($ids|split(" ")|map(.+".tar.gz"))}]' > /tmp/layers/manifest.json
  # shellcheck disable=SC2046,SC2086  # ids is a list
  (cd /tmp/layers && tar -c manifest.json config.json $(printf '%s.tar.gz ' $ids)) |
    ctr -n k8s.io images import --no-unpack --all-platforms --digests -
  rm -rf "$d"
}
names=$(kubeadm config images list --kubernetes-version "$version")
for c in kube-apiserver kube-controller-manager kube-scheduler kube-proxy etcd; do
  img "$(grep "/$c:" <<< "$names")" '["'$c'"]' $c
done
img "$(grep /coredns: <<< "$names")" '["coredns"]' coredns
img "$(sed -n 's/.*sandbox_image = "\(.*\)"/\1/p' /etc/containerd/config.toml)" '["sleep","infinity"]'
img "$(sed -n 's/.*image: *\(.*kube-router.*\)/\1/p' cni.yaml)" '["kube-router"]' kube-router
img "$(sed -n 's/.*image: *\(.*local-path-provisioner.*\)/\1/p' storage.yaml | head -1)" '["local-path-provisioner"]' local-path-provisioner
img "$(sed -n 's/.*image: *\(.*local-path-helper.*\)/\1/p' storage.yaml | head -1)" '["sh"]'
ctr -n k8s.io images ls -q
kill $pid; wait $pid || true
