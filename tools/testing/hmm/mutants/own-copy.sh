#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# own-copy.sh [-f CFLAGS] [-o OBJECT] DIR PATH... - a test driver that calls its own copy of a file
#
# Makes DIR/test_hmm.ko for kernel `check`, as an external module: the test driver's
# object as it was built with the kernel, and DIR/mm/hmm.c (if PATH is mm/hmm.c),
# compiled with CFLAGS in addition. The module calls this copy, and not the kernel's;
# so does a copy of the kernel's OBJECT. What the copy calls that no other module gets
# is exported by config/exports.h: if modpost finds a symbol undefined, add it there.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

usage="usage: own-copy.sh [-f CFLAGS] [-o OBJECT] DIR PATH..."
obj=$build/check
cflags='' objects=(lib/test_hmm/test_hmm.o)
while getopts f:o: option; do
	case $option in
	f) cflags=$OPTARG ;;
	o) objects+=("$OPTARG") ;;
	*) die "$usage" ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || die "$usage"
dir=$(readlink -f "$1")
shift

# These have no source here, so kbuild takes them as they are
parts=("${@/%.c/.o}")
for object in "${objects[@]}"; do
	cp "$obj/$object" "$dir/kernel-${object##*/}"
	parts+=("kernel-${object##*/}")
done
# The copy is the kernel's code: headers hide some of what it needs from modules, and
# MODULE_IMPORT_NS() would not import what KUnit's tests need
cat >"$dir/kernel.h" <<'END'
#undef MODULE
asm(".pushsection .modinfo, \"a\"\n"
    ".asciz \"import_ns=EXPORTED_FOR_KUNIT_TESTING\"\n"
    ".popsection");
END
cat >"$dir/Kbuild" <<END
obj-m := test_hmm.o
test_hmm-y := ${parts[*]}
ccflags-y := -include $dir/kernel.h -D__DISABLE_EXPORTS -I\$(srctree)/mm $cflags
END
ccache=$(command -v ccache >/dev/null && [ -z "${CCACHE_DISABLE:-}" ] && echo "ccache ") || true
make -s -C "$build/tree" O="$obj" ARCH=x86_64 CC="${ccache}gcc" M="$dir" modules >"$dir/log" 2>&1 || {
	grep -m 3 -E 'error|ERROR|undefined' "$dir/log" >&2 || tail -3 "$dir/log" >&2
	die "$dir: cannot be built; see $dir/log"
}
