#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# own-copy.sh [-f CFLAGS] [-o OBJECT] DIR PATH... - a test driver that calls its own copy of a file
#
# Makes DIR/test_hmm.ko for kernel `check`, an external module for kbuild: the
# test driver as it was built with the kernel, and DIR/mm/hmm.c (if PATH is mm/hmm.c),
# compiled with CFLAGS in addition. That module calls this copy, and not the kernel's.
# So does OBJECT of the kernel, of which the module gets a copy, too. What modules do
# not get of the kernel the linker knows by address, as guest.py boots with nokaslr.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

usage="usage: own-copy.sh [-f CFLAGS] [-o OBJECT] DIR PATH..."
obj=$build/check
cflags='' objects=("$obj/lib/test_hmm/test_hmm.o")
while getopts f:o: option; do
	case $option in
	f) cflags=$OPTARG ;;
	o) objects+=("$obj/$OPTARG") ;;
	*) die "$usage" ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || die "$usage"
dir=$(readlink -f "$1")
shift

# What the kernel has and modules do not get: not exported, or to a namespace
addresses() {
	awk '{ print $3, $1 }' "$obj/System.map" | grep -E '^[A-Za-z_][A-Za-z0-9_]* ' | sort -u -k 1,1 |
		join -v 1 - <(awk -F '\t' '$5 == "" { print $2 }' "$obj/Module.symvers" | sort -u) |
		awk '{ print "PROVIDE(" $1 " = 0x" $2 ");" }'
}

addresses >"$dir/addresses.ld"
# It is the kernel's code: headers hide some of what that gets from modules
echo '#undef MODULE' >"$dir/kernel.h"
cat >"$dir/Kbuild" <<END
obj-m := test_hmm.o
test_hmm-y := ${*/%.c/.o}
ccflags-y := -include $dir/kernel.h -D__DISABLE_EXPORTS -I\$(srctree)/mm $cflags
ldflags-y := ${objects[*]} $dir/addresses.ld
END
ccache=$(command -v ccache >/dev/null && [ -z "${CCACHE_DISABLE:-}" ] && echo "ccache ") || true
make -s -C "$build/tree" O="$obj" ARCH=x86_64 CC="${ccache}gcc" M="$dir" modules >"$dir/log" 2>&1 || {
	grep -m 3 -E 'error|ERROR|undefined' "$dir/log" >&2 || tail -3 "$dir/log" >&2
	die "$dir: cannot be built; see $dir/log"
}
