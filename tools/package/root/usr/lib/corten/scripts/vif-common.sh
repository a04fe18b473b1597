# shellcheck shell=sh disable=SC2034,SC2154
# What the scripts for network interfaces share; sourced after common.sh. SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Sets event (up or down), kind (vif or tap), dev (the interface's name on this host) and ip (the guest's addresses).

case ${1:-} in
online | add) event=up ;;
offline | remove) event=down ;;
*) fail "\"${1:-}\" is none of online, offline, add, remove" ;;
esac
kind=vif
case ${2:-} in type_if=tap) kind=tap ;; esac
# An emulated card's interface comes from the device model, by another variable.
if [ "$kind" = tap ]; then dev=${INTERFACE:-}; else dev=${vif:-}; fi
[ -n "$dev" ] || fail "the interface has no name: \"vif\" is not set"
have ip || fail "ip is not installed (apt install iproute2)"
ip=$(node ip)

exists() { [ -e "/sys/class/net/$1" ]; }

# The interface under the name that it is to have, down. Gives dev that name.
take() {
    new=$(node vifname)
    if [ -n "$new" ] && [ "$kind" = tap ]; then new=$new-emu; fi
    if [ "$event" = down ]; then
        if [ -n "$new" ] && exists "$new"; then dev=$new; fi
        return
    fi
    exists "$dev" || fail "there is no interface $dev"
    try ip link set dev "$dev" down
    if [ -n "$new" ] && [ "$new" != "$dev" ]; then
        try ip link set dev "$dev" name "$new"
        dev=$new
    fi
}

# As a bridge's port: with the highest address there is, which a bridge never takes for its own.
as_port() { try ip link set dev "$dev" address fe:ff:ff:ff:ff:ff; }

# set_mtu BRIDGE: the configured one, else that of the bridge. The guest is told.
set_mtu() {
    mtu=$(node mtu)
    if [ -z "$mtu" ] && [ -r "/sys/class/net/$1/mtu" ]; then mtu=$(cat "/sys/class/net/$1/mtu"); fi
    [ -n "$mtu" ] || return 0
    try ip link set dev "$dev" mtu "$mtu"
    front=$(node frontend)
    if [ -n "$front" ] && [ "$kind" = vif ]; then quietly xenstore-write "$front/mtu" "$mtu"; fi
}

# family ADDRESS: the option that ip wants for it
family() { case $1 in *:*) echo -6 ;; *) echo -4 ;; esac; }

# switch FILE: a setting of the kernel's is switched on, if it has it
switch() { if [ -e "$1" ]; then echo 1 >"$1"; fi; }

# Where the kernel has bridged frames filtered, they are let through: from the guest's addresses alone, if it has some.
bridged_frames() {
    [ "$(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null)" = 1 ] || return 0
    have iptables || return 0
    let_through --physdev-out "$dev"
    if [ -z "$ip" ]; then let_through --physdev-in "$dev"; fi
    for a in $ip; do
        case $a in *:*) ;; *) let_through --physdev-in "$dev" -s "$a" ;; esac
    done
}

let_through() {
    set -- FORWARD -m physdev --physdev-is-bridged "$@" -j ACCEPT
    quietly iptables -w -D "$@"
    if [ "$event" = up ]; then try iptables -w -I "$@"; fi
}

# The end of a script that has done its work.
finish() {
    if [ "$event" = up ] && [ "$kind" = vif ]; then connected; fi
    exit 0
}
