#!/bin/bash
# Makes .venv, of exactly what requirements.lock says. `make` runs it when that file or a pyproject.toml has changed.
#
# It may be interrupted, or lose the network, at any point: what has been fetched stays in pip's cache, what was half
# installed is installed again.
set -euo pipefail
cd "$(dirname "$0")/.."

pip=(.venv/bin/python -m pip --disable-pip-version-check --no-input)
log=.venv/install.log
broken='Connection|Retrying|[Tt]imed out|IncompleteRead|ProtocolError|name resolution'
cut_short='DO NOT MATCH THE HASHES' # what pip says of a download that ended early

terminal=0
if [[ -t 1 && ${TERM:-dumb} != dumb ]]; then
  terminal=1
fi

give_up() {
  echo "$1" >&2
  exit 1
}

# Prints the name of a Python that is new enough.
find_python() {
  local each
  for each in python3.13 python3.12 python3.11 python3; do
    if "$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$each"
      return
    fi
  done
  give_up 'No Python 3.11 or newer. Debian, Ubuntu: apt install python3 python3-venv'
}

make_venv() {
  local python
  python=$(find_python)
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    give_up "$python cannot make virtual environments. Debian, Ubuntu: apt install python3-venv"
  echo "Making .venv with $("$python" --version)"
  "$python" -m venv --clear .venv
}

# pip takes a package for installed as soon as its metadata are there; INSTALLER is written after all its files.
remove_half_installed() {
  local each
  for each in .venv/lib/python*/site-packages/*.dist-info; do
    [[ ! -d $each || -e $each/INSTALLER ]] || rm -rf "$each"
  done
  rm -rf .venv/lib/python*/site-packages/~*
}

# Reads what pip says; shows one line that changes on a terminal, and else a dot for each package.
show() {
  awk -v terminal="$terminal" -v all="$1" '
    function now(text) {
      if (terminal) printf "\r\033[K%s", text
      fflush()
    }
    function another() {
      count += 1
      if (!terminal) printf "."
    }
    /\.metadata/ { next }
    /^Requirement already satisfied/ { another(); now(sprintf("[%d of %d] %s is here", count, all, $4)) }
    /^ *(Downloading|Using cached) / {
      another()
      name = $(/Using cached/ ? 3 : 2)
      sub(/.*\//, "", name)
      sub(/-(py|cp)[0-9].*/, "", name)
      size = $0
      sub(/.*\(/, "(", size)
      now(sprintf("[%d of %d] %s %s", count, all, name, size))
    }
    /^Installing collected packages/ { now("installing what was fetched"); if (!terminal) printf " installing" }
    /Retrying|Connection timed out/ { now("the package index does not answer, trying again"); if (!terminal) printf "!" }
    END { if (terminal) printf "\r\033[K"; else printf "\n" }'
}

fetched() {
  grep -cE '^ *(Downloading|Using cached) ' "$log" || true
}

# Installs the lock file; tries again for as long as the network is to blame and each try comes further.
install_locked() {
  local all before=0
  all=$(grep -c '^[a-z0-9].*==' requirements.lock)
  echo "Installing up to $all packages"
  until "${pip[@]}" install --progress-bar off --require-hashes -r requirements.lock 2>&1 | tee "$log" | show "$all"; do
    if (($(fetched) <= before)) || ! grep -qE "$broken|$cut_short" "$log"; then
      why_not
    fi
    before=$(fetched)
    remove_half_installed
    echo 'The connection broke; going on from what was fetched.'
  done
}

why_not() {
  if grep -qE "$broken" "$log" && ! grep -q "$cut_short" "$log"; then
    give_up 'The package index does not answer. Is there a network? What was fetched is kept: run make again.'
  fi
  give_up "$(grep -m 1 '^ERROR' "$log" || tail -n 1 "$log") The whole story: $log"
}

trap 'echo; echo "Interrupted. What was fetched is kept: run make again." >&2; exit 130' INT TERM

"${pip[@]}" --version >/dev/null 2>&1 || make_venv
remove_half_installed
install_locked
"${pip[@]}" install --quiet --no-deps --no-build-isolation -e . -e tasks
