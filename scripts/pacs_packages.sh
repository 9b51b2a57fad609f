#!/usr/bin/env bash
# Install what tests/pacs talks to, where it is missing and this is root on Debian or Ubuntu: a real
# archive (Orthanc), dcmtk's programs, and dciodvfy. No daemon is started. Tests that need them are
# skipped, with that reason, where they cannot be had.
set -euo pipefail

policy=/usr/sbin/policy-rc.d
if [ "$(id -u)" -eq 0 ] && [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
fi
"$(dirname "${BASH_SOURCE[0]}")/system_packages.sh" orthanc orthanc-dicomweb dcmtk dicom3tools
