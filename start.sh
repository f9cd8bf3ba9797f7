#!/usr/bin/env bash
# Sets up .venv beside this file if it is not there or out of date, then
#   bash start.sh            runs the first search (nas run) and says where its report is
#   bash start.sh test …     runs the tests (further words go to pytest)
#   bash start.sh nas …      runs any nas command
# TORCH_INDEX=<index url> takes torch from another package index, for instance one with CPU-only or other CUDA builds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

fail() { echo "start.sh: $*" >&2; exit 1; }

python=${PYTHON:-python3}
command -v "$python" >/dev/null || fail "needs $python 3.11 or newer; install it: apt-get install python3 python3-venv"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "needs Python 3.11 or newer, found $("$python" -V)"
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  if [ "$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq python3-venv
  elif sudo -n true 2>/dev/null; then sudo apt-get update -qq && sudo apt-get install -y -qq python3-venv
  else fail "Python's venv is missing; install it: sudo apt-get install python3-venv"; fi
fi

wanted=$(cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)
if [ "$(cat .venv/nas-stamp 2>/dev/null || true)" != "$wanted" ]; then
  echo "setting up .venv (once, about 2 GB and a few minutes) …" >&2
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  # torch first and pinned: a later requirement then finds it installed and fetches no other build
  .venv/bin/python -m pip install -q --disable-pip-version-check ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} \
    "$(grep '^torch==' constraints.txt)"
  .venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
  .venv/bin/python - <<'PY'
import torch
if torch.version.cuda and not torch.cuda.is_available():
    print("note: torch is a CUDA build and this machine has no GPU; TORCH_INDEX=… with a CPU index saves gigabytes")
PY
  echo "$wanted" > .venv/nas-stamp
fi

case "${1:-run}" in
  test) shift; exec .venv/bin/python -m pytest "$@" ;;
  nas) shift; exec .venv/bin/nas "$@" ;;
  run) [ $# -gt 0 ] && shift; exec .venv/bin/nas run "$@" ;;
  *) fail "first word must be test, nas or run; got '$1'" ;;
esac
