#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# kernel.sh NAME [SOURCE ARCH FRAGMENT...] - build a kernel and its modules
# kernel.sh -c [-f CFLAGS] [-o OBJECT] DIR PATH... - build a test driver with its own copy of a file
#
# If only NAME is given, the rest is taken from its line in config/kernels.
# Builds build/7.3/SOURCE (tree, stock, ...) in build/7.3/NAME, configured with
# tinyconfig and the fragments config/FRAGMENT.config; a FRAGMENT with a slash is a
# file. FRAGMENT.h is a header to compile mm/gup_test.c with, which is itself a test.
# Only what has changed since the last time is built.
#
# -c builds DIR/test_hmm.ko for kernel `check` as an external module: the test driver's
# object as it was built with the kernel, and DIR/mm/hmm.c (if PATH is mm/hmm.c),
# compiled with additional CFLAGS. The module calls this copy, not the kernel's; so
# does a copy of the kernel's OBJECT. config/exports.h exports the symbols that the
# copy needs and no other module gets: if modpost finds a symbol undefined, add it there.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

usage="usage: kernel.sh NAME [SOURCE ARCH FRAGMENT...] | kernel.sh -c [-f CFLAGS] [-o OBJECT] DIR PATH...; if only NAME is given, it is one of config/kernels"

ccached() { # COMPILER
	[ -n "${CCACHE_DISABLE:-}" ] || ! command -v ccache >/dev/null || printf 'ccache '
	echo "$1"
}

with_own_copy() { # [-f CFLAGS] [-o OBJECT]... DIR PATH...
	local obj=$build/check cflags='' objects=(lib/test_hmm/test_hmm.o) option dir object parts

	while getopts :f:o: option; do
		case $option in
		f) cflags=$OPTARG ;;
		o) objects+=("$OPTARG") ;;
		*) die "$usage" ;;
		esac
	done
	shift $((OPTIND - 1))
	[ $# -ge 2 ] || die "$usage"
	[ -d "$1" ] || die "$1: no such directory"
	dir=$(readlink -f "$1")
	shift
	# There is no source for these, so kbuild uses them as they are
	parts=("${@/%.c/.o}")
	for object in "${objects[@]}"; do
		[ -f "$obj/$object" ] || die "$obj/$object: does not exist; build kernel check first"
		cp "$obj/$object" "$dir/kernel-${object##*/}"
		parts+=("kernel-${object##*/}")
	done
	# The copy is the kernel's code: headers hide some of what it needs from modules,
	# and MODULE_IMPORT_NS() would not import what KUnit's tests need
	cat >"$dir/kernel.h" <<-'END'
		#undef MODULE
		asm(".pushsection .modinfo, \"a\"\n"
		    ".asciz \"import_ns=EXPORTED_FOR_KUNIT_TESTING\"\n"
		    ".popsection");
	END
	cat >"$dir/Kbuild" <<-END
		obj-m := test_hmm.o
		test_hmm-y := ${parts[*]}
		ccflags-y := -include $dir/kernel.h -D__DISABLE_EXPORTS -I\$(srctree)/mm $cflags
	END
	make -s -C "$build/tree" O="$obj" ARCH=x86_64 CC="$(ccached gcc)" M="$dir" modules >"$dir/log" 2>&1 || {
		grep -m 3 -E 'error|ERROR|undefined' "$dir/log" >&2 || tail -3 "$dir/log" >&2
		die "$dir: build failed; see $dir/log"
	}
}

if [ "${1:-}" = -c ]; then
	with_own_copy "${@:2}"
	exit
fi
# shellcheck disable=SC2046 # one word an argument
[ $# != 1 ] || set -- $(awk -v name="$1" '$1 == name' "$here/config/kernels")

[ $# -ge 4 ] || die "$usage"
case $1 in
base | tree | stock) die "$1: this name is reserved for a source tree" ;;
esac
case $2 in
base | tree | stock)
	"$here/base/tree.sh" "$2"
	# It may have chosen another version
	. "$here/env.sh" ;;
esac
name=$1 src=$build/$2 arch=$3 obj=$build/$1
shift 3
[ -d "$src" ] || die "$src: no such tree"

fragments=() flags=()
for fragment; do
	case $fragment in
	*/*) ;;
	*.h) flags+=("CFLAGS_gup_test.o=-include $here/config/$fragment"); continue ;;
	*)
		# What is different for an older Linux
		if [ -f "$here/config/$base_version/$fragment.config" ]; then
			fragment=$base_version/$fragment
		fi
		fragment=$here/config/$fragment.config ;;
	esac
	[ -f "$fragment" ] || die "$fragment: no such file"
	fragments+=("$fragment")
done

# As in the kernel's Makefile, LLVM=-19 means clang-19 and its tools
cc=${CROSS_COMPILE:-}gcc
[ -z "${LLVM:-}" ] || cc=clang$LLVM
command -v "$cc" >/dev/null || die "$cc: not found; install it"
cc=$(ccached "$cc")
run_make() {
	# shellcheck disable=SC2086 # $KERNEL_MAKE may be several words
	make -C "$src" O="$obj" ARCH="$arch" CC="$cc" "${flags[@]}" ${KERNEL_MAKE:-} "$@"
}

# Does this Linux have the option, whatever it depends on?
has_option() { # CONFIG_OPTION...
	local option=${1#*CONFIG_}

	find "$src" -name 'Kconfig*' -type f -print0 |
		xargs -0 grep -qE "^[[:space:]]*(menu)?config ${option%%[= ]*}$"
}

# Every line of the fragments must be in .config, except options that a stock kernel
# does not have
survived() {
	local line lost=() i

	while read -r line; do
		case $line in
		CONFIG_*=n) line="# ${line%=n} is not set" ;&
		"# CONFIG_"*" is not set")
			! grep -q "^${line:2:-11}=" "$obj/.config" || lost+=("$line") ;;
		CONFIG_*)
			grep -qxF "$line" "$obj/.config" || lost+=("$line") ;;
		esac
	done < <(cat "${fragments[@]}")
	: >"$obj/lacks"
	for i in "${!lost[@]}"; do
		[ "${src##*/}" = stock ] || break
		! has_option "${lost[i]}" || continue
		echo "${lost[i]%%=*}" >>"$obj/lacks"
		unset "lost[$i]"
	done
	[ ${#lost[@]} = 0 ] || die "$name: not in .config as requested: ${lost[*]}"
}

configure() {
	local stamp

	stamp=$(cat "$src/Makefile" "${fragments[@]}" | sha256sum)" $arch $src"
	if [ "$(cat "$obj/config.stamp" 2>/dev/null)" != "$stamp" ]; then
		rm -f "$obj/config.stamp"
		run_make -s tinyconfig
		"$src/scripts/kconfig/merge_config.sh" -m -O "$obj" \
			"$obj/.config" "${fragments[@]}"
		run_make -s olddefconfig
		survived
		echo "$stamp" >"$obj/config.stamp"
	fi
}

targets() {
	case $arch in
	x86_64 | i386) echo vmlinux ;;
	um) echo linux ;;
	arm) echo zImage ;;
	*) echo vmlinux ;;
	esac
	! grep -qx CONFIG_MODULES=y "$obj/.config" || echo modules
}

locked "$name"
mkdir -p "$obj"
log=$obj/build.log
configure >"$log" 2>&1 || {
	tail -3 "$log" >&2
	die "$name: cannot be configured; see $log"
}
[ ! -s "$obj/lacks" ] || say "$name: this Linux has no $(xargs <"$obj/lacks")"
mapfile -t wanted < <(targets)

# Prints a line every 30 seconds
progress() {
	while sleep 30 >/dev/null 2>&1; do
		say "$name: $(grep -cE '^  (CC|AS|AR|LD)' "$log") files built"
	done
}

progress &
trap 'kill %1 2>/dev/null || true' EXIT
run_make -j"$(nproc)" "${wanted[@]}" >"$log" 2>&1 || {
	grep -m 20 -E 'error|undefined|\*\*\*|No space' "$log" >&2 || tail -5 "$log" >&2
	die "$name: build failed; see $log"
}
! grep -E ': warning:' "$log" || say "$name: warnings, see above"
