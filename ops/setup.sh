#!/usr/bin/env bash
# Makes a virtual environment with everything Visavis needs: ops/setup.sh FOLDER
set -euo pipefail
venv=$1

suits() { # a Python from 3.11 to 3.13
    command -v "$1" >/dev/null && "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
}

if [ ! -x "$venv/bin/python" ] || ! suits "$venv/bin/python"; then
    # The system's own python3 first: it is the one that most likely came complete.
    for candidate in python3 python3.13 python3.12 python3.11; do
        if suits "$candidate"; then python=$candidate && break; fi
    done
    if [ -z "${python:-}" ]; then
        echo "Visavis needs Python 3.11, 3.12 or 3.13 and found none; on Debian: apt-get install python3 python3-venv" >&2
        exit 1
    fi
    if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        "$(dirname "$0")/packages.sh" python3-venv
    fi
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi

echo "Installing Python packages into $venv (the first time takes a few minutes)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[dev,train]'
