#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# rxe_odp.sh [OPTION]... - run rxe_odp on a soft-RoCE device on a dummy interface
#
# OPTIONs are those of the harness: -l lists the tests, -r NAME runs one.
cd "$(dirname "$0")" || exit
. ./odp_setup.sh

skip() {
	echo "1..0 # SKIP $*"
	exit 4
}

clean_up() {
	[ -z "$loop" ] || { swapoff "$loop" && losetup -d "$loop"; } 2>/dev/null
	rdma link del "$ODP_DEVICE" 2>/dev/null
	ip link del odp0 2>/dev/null
}

export ODP_DEVICE=rxe_odp0
loop=
[ -x ./rxe_odp ] || skip "rxe_odp was not built: needs libibverbs"
[ "$(id -u)" = 0 ] || skip "needs root"
for tool in ip rdma; do
	command -v $tool >/dev/null || skip "needs $tool"
done
modprobe -q -a rdma_rxe dummy brd loop 2>/dev/null
trap clean_up EXIT
set_up_device "$ODP_DEVICE" odp0 10.74.0.1 >&2 || skip "no soft-RoCE device: needs CONFIG_RDMA_RXE"
# Tests of reclaim need swap; without it they are skipped
if [ "$(wc -l </proc/swaps)" -lt 2 ] && [ -b /dev/ram0 ]; then
	loop=$(losetup -f 2>/dev/null)
	[ -z "$loop" ] || set_up_swap /dev/ram0 "$loop" >&2 || loop=
fi
./rxe_odp "$@"
