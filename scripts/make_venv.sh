#!/usr/bin/env bash
# Make a virtual environment with pip in it, unless a working one is there.
# Usage: make_venv.sh FOLDER PYTHON     (PYTHON may be empty: none new enough was found)
set -euo pipefail
folder=$1
python=$2

if "$folder/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  exit 0
fi
if [ -z "$python" ]; then
  found=$(python3 --version 2>/dev/null || echo "no python3 at all")
  echo "medseg needs Python 3.11 or newer; found $found." >&2
  echo "Install one, or name it: make PYTHON=/path/to/python3.12 demo" >&2
  exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "medseg needs Python 3.11 or newer; $python is $("$python" --version 2>&1)." >&2
  exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  # Debian keeps these in a package of their own.
  "$(dirname "$0")/system_packages.sh" python3-venv
fi
if ! log=$("$python" -m venv --clear "$folder" 2>&1); then
  echo "$log" >&2
  echo "$python could not make a virtual environment in $folder." >&2
  exit 1
fi
