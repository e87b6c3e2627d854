#!/usr/bin/env bash
# node-image.sh [--if-there]
# Prints the name of a kind node image that this machine can use: XDIT_NODE_IMAGE, or kind's own where a registry answers, or
# one put together here from Go modules and Debian packages (cold about 15 minutes on two cores, later nothing).
# With --if-there nothing is pulled or made; it ends with 1 instead.
. "$(dirname "$0")/lib.sh"

if [ -n "${XDIT_NODE_IMAGE:-}" ]; then echo "$XDIT_NODE_IMAGE"; exit 0; fi
if docker image inspect "$OFFICIAL_NODE" > /dev/null 2>&1; then echo "$OFFICIAL_NODE"; exit 0; fi

programs=(coredns crictl etcd kube-router kubernetes local-path-provisioner)
version=$(awk '$2 == "k8s.io/kubernetes" {print $3}' "$HERE/modules/kubernetes/go.mod")
image=local/node:$version-$({ cat "$HERE/node-image.sh" "$HERE"/node/* "$HERE"/modules/kind/go.*; "$HERE/binaries.sh" --names "${programs[@]}" | xargs -n1 basename; } | digest)
if docker image inspect "$image" > /dev/null 2>&1; then echo "$image"; exit 0; fi
[ "${1:-}" != --if-there ] || exit 1
if registry_has "$OFFICIAL_NODE"; then
  say "pulling $OFFICIAL_NODE (450 MB)"
  docker pull -q "$OFFICIAL_NODE" > /dev/null
  echo "$OFFICIAL_NODE"
  exit 0
fi

say "no registry answers for kind's node image: making one"
at_least "$(go env GOVERSION 2> /dev/null | sed s/go//)" 1.24.0 || die "Go 1.24 or newer is needed to make a node image without a registry"
"$HERE/base-image.sh" bookworm-slim
folders=$("$HERE/binaries.sh" "${programs[@]}")

context=$(mktemp -d "$CACHE/node.XXXXXX")
trap 'rm -rf "$context"' EXIT
cp "$HERE"/node/* "$context/"
mkdir "$context/bin" "$context/module"
for folder in $folders; do cp -l "$folder"/* "$context/bin/"; done
# kind's own node files, out of its module
cp "$HERE"/modules/kind/go.* "$context/module/"
kind=$(cd "$context/module" && GOFLAGS=-mod=mod go mod download -json sigs.k8s.io/kind | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
cp -r --no-preserve=mode "$kind/images/base/files" "$context/kind"
# the StorageClass manifest is a Go string constant with two other constants in it
python3 - "$kind/pkg/build/nodeimage/const_storage.go" > "$context/storage.yaml" << 'PYTHON'
import pathlib, re, sys
source = pathlib.Path(sys.argv[1]).read_text()
names = dict(re.findall(r'const (\w+) = "(.+)"', source))
text = source.split("const defaultStorageManifest = `")[1]
print(re.sub(r"` \+ (\w+) \+ `", lambda name: names[name[1]], text).rsplit("`", 1)[0])
PYTHON
rm -rf "$context/module"
say "building $image (about a minute)"
quietly docker build -t "$image" "$context"
docker images -q --filter 'reference=local/node' --filter "before=$image" | xargs -r docker rmi > /dev/null 2>&1 || true
echo "$image"
