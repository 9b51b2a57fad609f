#!/usr/bin/env bash
# Install the Debian or Ubuntu packages that are missing: by default those that napari's window
# and its tests need (Qt's libraries, software OpenGL, a virtual screen).
# As root it installs them; otherwise it names them in one line. Nothing missing: no network.
# Usage: system_packages.sh [PACKAGE ...]
set -euo pipefail

gui=(
  xvfb xauth
  libegl1 libgl1 libopengl0 libgl1-mesa-dri libglx-mesa0
  libxkbcommon0 libxkbcommon-x11-0 libdbus-1-3 libfontconfig1
  libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0
  libxcb-render-util0 libxcb-shape0 libxcb-xkb1
  fonts-dejavu-core
)
if [ "$#" -gt 0 ]; then wanted=("$@"); else wanted=("${gui[@]}"); fi

command -v apt-get >/dev/null && command -v dpkg-query >/dev/null || exit 0

missing=()
for package in "${wanted[@]}"; do
  state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "Some system packages are missing; to have them: sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
  exit 0
fi

echo "Installing ${#missing[@]} system packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt_get() { apt-get -q -o DPkg::Lock::Timeout=120 "$@" </dev/null; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt_get update && apt_get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 15 "$log" >&2
  echo "These system packages could not be installed: ${missing[*]}" >&2
fi
