#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# arm.sh [arm|arm-lpae]... - test on 32-bit ARM, by default without and with LPAE
#
# Only there a page table can be without pmd_pfn() and its kin, lie in high
# memory (HIGHPTE), and a PTE left mapped (J1) be seen by more than RCU.
# Boots each kernel twice: for KUnit, and for the selftests, of which those that
# need memory of a device skip.
set -euo pipefail
. "$(dirname "$0")/env.sh"

cross=arm-linux-gnueabihf-
seconds=600
programs=(range table errors model race)
passed=0 failed=0 skipped=0

add() { # PASSED FAILED SKIPPED
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

# The selftests and their first process, static, as an initramfs
make_initramfs() {
	local out=$build/arm

	mkdir -p "$out/root/dev" "$out/headers"
	make -s -C "$build/tree" O="$out/headers" ARCH=arm headers
	# The kernel's harness casts pointers to what is wider on 32 bit
	CFLAGS=-Wno-pointer-to-int-cast \
		make -s -C "$build/tree/tools/testing/selftests/hmm" OUTPUT="$out/root" \
		CROSS_COMPILE="$cross" CC="${cross}gcc" LDFLAGS=-static \
		KHDR_INCLUDES="-isystem $out/headers/usr/include"
	"${cross}gcc" -O2 -Wall -static -o "$out/root/init" "$here/arm/init.c"
	(cd "$out/root" && printf '%s\n' . dev init "${programs[@]}" |
		cpio -o -H newc --quiet) >"$out/initramfs"
}

guest() { # MACHINE LOG
	local machine=virt mem=1G

	[ "$1" != arm-lpae ] || mem=3G
	timeout --foreground -k 5 $((seconds * ${#programs[@]} + 120)) qemu-system-arm \
		-M $machine -cpu cortex-a15 -smp 2 -m $mem -nodefaults -display none \
		-no-reboot -kernel "$build/kunit-$1/arch/arm/boot/zImage" \
		-initrd "$build/arm/initramfs" -serial "file:$2" \
		-append "console=ttyAMA0 panic=-1 oops=panic kunit.enable=0 rdinit=/init -- $seconds ${programs[*]/#//}" \
		</dev/null
}

# What the programs counted; one that did not end is a failure
totals() { # LOG
	awk -v nr=${#programs[@]} '
	{ sub(/\r$/, "") }
	/^# Totals:/ { gsub(/[a-z]+:/, ""); p += $3 + $5 + $6; f += $4 + $8; s += $7; counted++ }
	/^not ok/ && !/# SKIP/ { bad++ }
	END { if (counted < nr) f += nr - counted; print p + 0, f + 0, s + 0 }' "$1"
}

selftests() { # MACHINE
	local log=$build/arm/$1.log sums

	say "$1: selftests"
	guest "$1" "$log" || { say "$1: QEMU ended with $?"; add 0 1 0; }
	read -ra sums < <(totals "$log")
	grep -aE '^not ok|ended with [^0]' "$log" | head -20 || true
	if grep -aE "$splat" "$log" | head -5; then
		say "$1: the kernel complains; see $log"
		add 0 1 0
	fi
	add "${sums[@]}"
}

kunit() { # MACHINE
	local out

	out=$("$here/kunit.sh" "$1" | tee /dev/stderr | tail -1) || true
	[[ $out =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]] ||
		die "$1: KUnit ended without a count"
	add "${BASH_REMATCH[@]:1:3}"
}

for command in qemu-system-arm cpio "${cross}gcc"; do
	command -v "$command" >/dev/null ||
		die "$command: not found; apt-get install qemu-system-arm cpio gcc-${cross%-} libc6-dev-armhf-cross"
done
[ $# -gt 0 ] || set -- arm arm-lpae
"$here/tree.sh" tree
make_initramfs
for machine; do
	kunit "$machine"
	selftests "$machine"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
