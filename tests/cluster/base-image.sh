#!/usr/bin/env bash
# base-image.sh KIND...   KIND: bookworm-slim | bookworm-python | trixie-slim | trixie-python | trixie-torch
# Makes local/debian:KIND: on top of debian:SUITE-slim where a registry answers, else out of Debian packages (debootstrap, as
# root on Debian or Ubuntu). An image that was made from the same files is left alone.
. "$(dirname "$0")/lib.sh"

# a folder with the certificate authorities that were added to this host
authorities() {
  mkdir -p "$1"
  touch "$1/.keep"
  cp /usr/local/share/ca-certificates/*.crt "$1/" 2> /dev/null || true
}

# debian:$1-slim, pulled or put together; prints its name
debian() {
  local image=debian:$1-slim root
  if docker image inspect "$image" > /dev/null 2>&1; then echo "$image"; return; fi
  if registry_has "$image"; then
    docker pull -q "$image"
    return
  fi
  image=local/debootstrap:$1
  if docker image inspect "$image" > /dev/null 2>&1; then echo "$image"; return; fi
  can_apt || die "no registry answers for debian:$1-slim, and only root on Debian or Ubuntu can make it with debootstrap"
  command -v debootstrap > /dev/null || apt_install debootstrap
  say "no registry answers for debian:$1-slim: making it from Debian packages (about 75 s)"
  root=$(mktemp -d "$CACHE/debootstrap.XXXXXX")
  if ! debootstrap --variant=minbase --include=ca-certificates "$1" "$root" > "$CACHE/debootstrap-$1.log" 2>&1; then
    tail -5 "$CACHE/debootstrap-$1.log" >&2
    rm -rf "$root"
    die "debootstrap $1 failed; see $CACHE/debootstrap-$1.log"
  fi
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*
  tar -C "$root" -c . | docker import -c 'CMD ["bash"]' - "$image" > /dev/null
  rm -rf "$root"
  echo "$image"
}

# build TAG FOLDER FROM TYPICAL-TIME: the image of bases/FOLDER
build() {
  local context made_from
  context=$(mktemp -d)
  cp -r "$HERE/bases/$2/." "$context"
  [ "$2" != slim ] || authorities "$context/ca"
  made_from=$({ docker image inspect -f '{{.Id}}' "$3"; find "$context" -type f -print0 | LC_ALL=C sort -z | xargs -0 cat; } | digest)
  if [ "$(docker image inspect -f '{{index .Config.Labels "made-from"}}' "$1" 2> /dev/null)" != "$made_from" ]; then
    say "building $1 ($4)"
    quietly docker build --label "made-from=$made_from" --build-arg "FROM=$3" -t "$1" "$context"
  fi
  rm -rf "$context"
}

make_base() {
  local suite=${1%%-*}
  case $1 in
    bookworm-slim | trixie-slim) build "local/debian:$1" slim "$(debian "$suite")" "5 s" ;;
    bookworm-python | trixie-python) make_base "$suite-slim"; build "local/debian:$1" python "local/debian:$suite-slim" "30 s" ;;
    trixie-torch) make_base trixie-python; build "local/debian:$1" torch local/debian:trixie-python "2 minutes" ;;
    *) die "unknown base image $1" ;;
  esac
}

mkdir -p "$CACHE"
"$HERE/docker.sh"
for kind in "$@"; do make_base "$kind"; done
