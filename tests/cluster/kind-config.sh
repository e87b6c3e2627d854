#!/usr/bin/env bash
# kind-config.sh NODE-IMAGE
# Prints kind's configuration: one control plane that also takes pods, WORKERS workers, the shared folder, the audit log.
. "$(dirname "$0")/lib.sh"
mounts="  extraMounts:
  - {hostPath: $SHARED, containerPath: /shared}"
# In the local image kube-router enforces NetworkPolicy. It writes back whole iptables tables and at times loses what kube-proxy has
# added meanwhile: a node then has no Services (kube-proxy does not try again). With nftables each has tables of its own.
proxy=iptables
[[ $1 != local/* ]] || proxy=nftables
# kind itself removes the taint of an only node
untainted='  - |
    kind: InitConfiguration
    nodeRegistration: {taints: []}'
[ "$WORKERS" -gt 0 ] || untainted=
cat << YAML
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
networking: {kubeProxyMode: $proxy}
nodes:
- role: control-plane
$mounts
  - {hostPath: $CACHE/audit-policy.yaml, containerPath: /etc/kubernetes/audit/policy.yaml, readOnly: true}
  kubeadmConfigPatches:
$untainted
  - |
    kind: ClusterConfiguration
    apiServer:
      extraArgs:
        audit-policy-file: /etc/kubernetes/audit/policy.yaml
        audit-log-path: /var/log/kubernetes/audit/audit.log
        audit-log-mode: blocking
        # never rotated: readers keep a place in bytes
        audit-log-maxsize: "4096"
      extraVolumes:
      - {name: audit-policy, hostPath: /etc/kubernetes/audit, mountPath: /etc/kubernetes/audit, readOnly: true, pathType: Directory}
      - {name: audit-log, hostPath: /var/log/kubernetes/audit, mountPath: /var/log/kubernetes/audit, readOnly: false, pathType: DirectoryOrCreate}
YAML
for _ in $(seq "$WORKERS"); do printf -- '- role: worker\n%s\n' "$mounts"; done
