#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# kunit.sh [um|x86_64|i386|arm|arm-lpae]... - run mm/tests/hmm_kunit.c
#
# With the kernel's own kunit.py, in build/7.3/kunit-MACHINE; um, the default,
# runs natively. Whatever the kernel complains of in the log is a failure, too.
set -euo pipefail
. "$(dirname "$0")/env.sh"

passed=0 failed=0 skipped=0
ccache=$(command -v ccache >/dev/null && echo "ccache ") || true

describe() { # MACHINE: sets arch, cross, options
	options=() common=''
	case $1 in
	um | x86_64) arch=$1 cross='' ;;
	i386) arch=$1 cross='' common=bits32 options=(--qemu_args="-cpu $i386_cpu") ;;
	arm | arm-lpae) arch=arm cross=arm-linux-gnueabihf- common=bits32 ;;
	*) die "$1: there are um, x86_64, i386, arm and arm-lpae" ;;
	esac
	for name in "" $(printf '%s\n' "$common" "$arch" "$1" | uniq); do
		file=$here/config/kunit/${name:+$name.config}
		[ ! -e "$file" ] || options+=(--kunitconfig "$file")
	done
	[ -z "$cross" ] || options+=(--cross_compile "$cross")
	command -v "${cross}gcc" >/dev/null ||
		die "${cross}gcc: not found; apt-get install gcc${cross:+-${cross%-}}"
	[ "$arch" = um ] || command -v "qemu-system-$arch" >/dev/null ||
		die "qemu-system-$arch: not found; apt-get install qemu-system-${arch/#[ix]*/x86}"
}

# The counts of kunit.py's last line are words and numbers, only those not 0
count() { # WORD FILE
	sed -nE "s/.*Testing complete\. Ran .*\b$1: ([0-9]+).*/\1/p" "$2" | tail -1
}

run() { # MACHINE
	local dir=$build/kunit-$1 log=$build/kunit-$1.log status=0 p f s

	describe "$1"
	locked "kunit-$1"
	mkdir -p "$dir"
	say "$1"
	python3 "$build/tree/tools/testing/kunit/kunit.py" run --arch "$arch" \
		--build_dir "$dir" "${options[@]}" --jobs "$(nproc)" \
		--make_options "CC=${ccache}${cross}gcc" --timeout 900 'hmm*' \
		>"$log" 2>&1 </dev/null || status=$?
	grep -E '\[FAILED\]|EXPECTATION FAILED|ASSERTION FAILED|Testing complete|error:' "$log" || tail -5 "$log"
	p=$(count passed "$log") f=$(count failed "$log") s=$(count skipped "$log")
	if [ -f "$dir/test.log" ] && grep -aE "$splat" "$dir/test.log"; then
		say "$1: the kernel complains; see $dir/test.log"
		f=$((${f:-0} + 1))
	fi
	[ $status = 0 ] || [ "${f:-0}" -gt 0 ] || f=1
	passed=$((passed + ${p:-0})) failed=$((failed + ${f:-0})) skipped=$((skipped + ${s:-0}))
}

"$here/base/tree.sh" tree
[ $# -gt 0 ] || set -- um
for machine; do
	run "$machine"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
