#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# bits32.sh arm|arm-lpae|i386... - test on 32-bit machines
#
# On ARM without LPAE a page table is without pmd_pfn() and its kin; with LPAE
# it can lie in high memory (HIGHPTE), which no other architecture has any more,
# and a PTE left mapped (J1) be seen by more than RCU.  i386 has PAE.
# Boots each kernel twice: for KUnit, and for the selftests, of which those that
# need memory of a device skip.
set -euo pipefail
. "$(dirname "$0")/env.sh"

seconds=600
passed=0 failed=0 skipped=0

add() { # LINE: "N passed, N failed, N skipped"
	[[ $1 =~ $counts ]] ||
		die "$machine: no count, but: $1"
	passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
	skipped=$((skipped + BASH_REMATCH[3]))
}

describe() { # MACHINE: sets arch, cross, libc, emulator, image, console, options and programs
	local memory=3G

	programs=(range table errors model race)
	options=(-smp 2 -nodefaults -display none -no-reboot)
	case $1 in
	arm | arm-lpae)
		arch=arm cross=arm-linux-gnueabihf- libc=libc6-dev-armhf-cross
		emulator=qemu-system-arm image=arch/arm/boot/zImage console=ttyAMA0
		options+=(-M virt -cpu cortex-a15)
		;;
	i386)
		arch=i386 cross=i686-linux-gnu- libc=libc6-dev-i386-cross
		emulator=qemu-system-i386 image=arch/x86/boot/bzImage console=ttyS0
		options+=(-cpu "$i386_cpu")
		# Devices of ARM's virt need cache maintenance, and hmm_dma refuses those
		programs+=(dma)
		;;
	*)	die "$1: there are arm, arm-lpae and i386" ;;
	esac
	# No more than that is there without LPAE or high memory
	[ "$1" != arm ] || memory=1G
	options+=(-m "$memory")
	for command in $emulator cpio "${cross}gcc"; do
		command -v "$command" >/dev/null ||
			die "$command: not found; apt-get install ${emulator/i386/x86} cpio gcc-${cross%-} $libc"
	done
}

# The selftests and their first process, static, as an initramfs
make_initramfs() {
	out=$build/bits32/$arch
	mkdir -p "$out/root/dev" "$out/headers"
	make -s -C "$build/tree" O="$out/headers" ARCH=$arch headers
	# The kernel's harness casts pointers to what is wider on 32 bit
	CFLAGS=-Wno-pointer-to-int-cast \
		make -s -C "$build/tree/tools/testing/selftests/hmm" OUTPUT="$out/root" \
		CROSS_COMPILE="$cross" CC="${cross}gcc" LDFLAGS=-static \
		KHDR_INCLUDES="-isystem $out/headers/usr/include"
	"${cross}gcc" -O2 -Wall -static -o "$out/root/init" "$here/guest/init.c"
	(cd "$out/root" && printf '%s\n' . dev init "${programs[@]}" |
		cpio -o -H newc --quiet) >"$out/initramfs"
}

guest() { # MACHINE LOG
	timeout --foreground -k 5 $((seconds * ${#programs[@]} + 120)) \
		"$emulator" "${options[@]}" -kernel "$build/kunit-$1/$image" \
		-initrd "$out/initramfs" -serial "file:$2" \
		-append "console=$console panic=-1 oops=panic kunit.enable=0 rdinit=/init -- $seconds ${programs[*]/#//}" \
		</dev/null
}

selftests() { # MACHINE
	local log=$build/bits32/$1.log status=0

	say "$1: selftests"
	guest "$1" "$log" || { status=$?; say "$1: QEMU ended with $status"; }
	if grep -aE "$splat" "$log" | head -5 | grep .; then
		say "$1: the kernel complains; see $log"
		status=1
	fi
	grep -aE '^not ok' "$log" | head -20 || true
	add "$(awk -v nr="${#programs[@]}" -v status="$status" \
		-f "$here/count-tap.awk" "$log" | tee >(cat >&2) | tail -1)"
}

kunit() { # MACHINE
	say "$1: KUnit"
	add "$("$here/kunit.sh" "$1" | tee >(cat >&2) | tail -1)"
}

[ $# -gt 0 ] || die "usage: bits32.sh arm|arm-lpae|i386..."
"$here/base/tree.sh" tree
for machine; do
	describe "$machine"
	make_initramfs
	kunit "$machine"
	selftests "$machine"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
