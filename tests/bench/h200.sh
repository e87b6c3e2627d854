#!/usr/bin/env bash
# The runtime's speed on real GPUs: bash tests/bench/h200.sh [--tiny] [x4] [PHASE...]     (see README.md beside this file)
set -u
cd "$(dirname "$0")/../.." || exit 1
[ -x .venv/bin/python ] && here=.venv/bin/python || here=python3
PYTHON=${PYTHON:-$here}
export OUT=${OUT:-/tmp/xdit-bench/out} PYTHONUNBUFFERED=1
if ! "$PYTHON" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("xfuser") is None)'; then
  site=/tmp/xdit-bench/site
  if [ ! -e "$site/.done" ]; then
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" .whl/*.whl || exit 1
    touch "$site/.done"
  fi
fi
export PYTHONPATH="$PWD:$PWD/crds:$PWD/runtime${site:+:$site}${PYTHONPATH:+:$PYTHONPATH}"
exec "$PYTHON" tests/bench/h200.py "$@"
