# shellcheck shell=sh
# What the hotplug scripts of this directory share; sourced by them. SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The toolstack names the device by XENBUS_PATH, a path below the back end's domain, and reads the nodes hotplug-status
# and hotplug-error there when the script has ended. What is printed is shown to the administrator after a failure.
set -eu
PATH=${PATH:+$PATH:}/usr/sbin:/usr/bin:/sbin:/bin
export PATH

told=
trap 'ended $?' EXIT

# What ends the script without a word is reported all the same.
ended() { if [ "$1" != 0 ] && [ -z "$told" ]; then tell "it ended with status $1"; fi; }

# node NAME: the value of a node of the device, or nothing
node() { xenstore-read "$XENBUS_PATH/$1" 2>/dev/null || :; }

put() { xenstore-write "$XENBUS_PATH/$1" "$2"; }

tell() {
    told=1
    echo "$1" >&2
    put hotplug-error "$1" || :
    put hotplug-status error || :
}

# fail WORDS: ends the script, with these as the reason
fail() { tell "$*"; exit 1; }

connected() { put hotplug-status connected; }

# try COMMAND...: runs it; its failure is the script's, with its own words as the reason
try() {
    said=$("$@" 2>&1) || fail "$*: ${said:-failed}"
}

# quietly COMMAND...: what is undone may be gone already
quietly() { "$@" >/dev/null 2>&1 || :; }

have() { command -v "$1" >/dev/null 2>&1; }

if [ -z "${XENBUS_PATH:-}" ]; then
    echo "$0: XENBUS_PATH is not set: this is called by the toolstack, not by hand" >&2
    trap - EXIT
    exit 1
fi
have xenstore-read || fail "xenstore-read is not installed"
