#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# odp_setup.sh - sourced by scripts that need a soft-RoCE device: set_up_device, set_up_swap

# Prints the number of the GID that belongs to the IPv4 address
ipv4_gid() { # DEVICE
	local gid

	for gid in /sys/class/infiniband/"$1"/ports/1/gids/{0..7}; do
		if grep -q ^0000:0000:0000:0000:0000:ffff "$gid"; then
			basename "$gid"
			return
		fi
	done
	return 1
}

# Sets gid_index
# shellcheck disable=SC2034
set_up_device() { # DEVICE INTERFACE ADDRESS
	local try

	ip link set lo up
	[ -e "/sys/class/net/$2" ] || ip link add "$2" type dummy || return
	ip link set "$2" mtu 9000
	ip address add "$3/24" dev "$2"
	ip link set "$2" up
	rdma link add "$1" type rxe netdev "$2" || return
	for ((try = 0; try < 10; try++)); do
		gid_index=$(ipv4_gid "$1") && return
		sleep 0.3
	done
	echo "$1 got no IPv4 GID; see: rdma link, ip address" >&2
	return 1
}

# Through a loop device: pages swapped in from a RAM disk itself are never clean
set_up_swap() { # RAM-DISK LOOP
	losetup "$2" "$1" && mkswap "$2" >/dev/null && swapon "$2"
}
