#!/usr/bin/env bash
# Installs those of the named Debian packages that are missing, or says what to install: ops/packages.sh NAME...
set -euo pipefail

missing=()
for package in "$@"; do
    if ! command -v dpkg-query >/dev/null ||
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
        missing+=("$package")
    fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "Installing Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
elif command -v apt-get >/dev/null; then
    echo "Please install what is missing, then run make again:" >&2
    echo "    sudo apt-get install ${missing[*]}" >&2
    exit 1
else
    echo "These packages are needed, under their Debian names: ${missing[*]}. Make sure that they are there." >&2
fi
