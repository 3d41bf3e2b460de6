#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# run.sh - from a bare Debian machine to RDMA over this hmm_range_fault()
# run.sh job KERNEL - only the last step, on another kernel; prints a count
# run.sh sample - the same for samples/hmm, and its mutants
# run.sh sample-short KERNEL - one minute of that; prints a count
set -euo pipefail
. "$(dirname "$0")/../env.sh"

logs=$top/build/log
steps=6 step=0

# step WHAT COMMAND...
step() {
	local what=$1 log start=$SECONDS

	step=$((step + 1))
	log=$logs/run-$step.log
	shift
	echo "[$step/$steps] $what"
	if ! "$@" 2>&1 | tee "$log" | sed -u 's/^/      /'; then
		echo "[$step/$steps] failed after $((SECONDS - start)) s; see $log" >&2
		exit 1
	fi
	echo "[$step/$steps] took $((SECONDS - start)) s"
}

storm() {
	mkdir -p "$build/programs"
	cc -O2 -Wall -D_GNU_SOURCE -o "$build/programs/odp_torture" "$here/run/odp_torture.c" \
		"$top/tools/testing/selftests/rdma/odp.c" -libverbs -lpthread
	cc -O2 -Wall -o "$build/programs/hmmtop" "$top/tools/mm/hmmtop.c"
}

main_job() { # KERNEL [ARG]...
	"$here/guest/guest.py" -m 3G -t 1500 -d rdma -l "$logs/main-job-$1-console.log" run "$1" \
		"$here/run/main-job.sh" "$build/programs" "${@:2}"
}

# QEMU's options for that many devices, and for one more that the guest can unplug
# through QEMU's monitor, at the other end of a virtio port
edu_options() { # COUNT
	local i edu="edu,dma_mask=0xffffffffffffffff" socket="socket,path=hmm-$$,abstract=on"

	case ${IOMMU:-intel} in
	intel) echo "-device intel-iommu" ;;
	virtio) echo "-device virtio-iommu-pci,addr=1e" ;;
	none) ;;
	*) die "IOMMU=$IOMMU: not one of intel, virtio, none" ;;
	esac
	for ((i = 0; i < $1; i++)); do
		printf -- '-device %s,multifunction=on,addr=%x.%d ' "$edu" $((i / 8 + 4)) $((i % 8))
	done
	echo "-device pcie-root-port,id=plug,chassis=1,addr=3 -device $edu,id=loose,bus=plug" \
		"-chardev $socket,id=port,server=on,wait=off -chardev $socket,id=monitor -mon monitor" \
		"-device virtserialport,chardev=port,name=monitor"
}

# Runs in the guest, without the other functions
use_sample() { # MODULE PROGRAM MIB
	local loose pid port

	set -e
	insmod "$1" dma_bits=64
	echo madvise >/sys/kernel/mm/transparent_hugepage/enabled
	losetup /dev/loop0 /dev/ram0
	mkswap /dev/loop0 >/dev/null
	swapon /dev/loop0
	mkfs.ext2 -q /dev/ram1
	mkdir /run/files
	mount /dev/ram1 /run/files

	echo "== a process is killed during its work, and another one takes its place"
	"$2" -n 1000000 >/run/killed &
	pid=$!
	sleep 5
	kill -9 $pid || { # it has ended
		cat /run/killed
		exit 1
	}
	wait $pid || [ $? = 137 ]
	"$2"
	echo "== a device is unplugged during its work"
	loose=$(echo /dev/hmm_edu-0000:01:*)
	"$2" -n 1000000 "$loose" >/run/unplugged &
	pid=$!
	sleep 5
	port=$(grep -lx monitor /sys/class/virtio-ports/*/name)
	port=${port%/name}
	echo "device_del loose" >"/dev/${port##*/}"
	wait $pid || [ $? = 3 ]
	grep "1 were unplugged" /run/unplugged
	[ ! -e "$loose" ]
	echo "== the work: $3 MiB"
	"$2" -n "$3" -f /run/files/file
	rmmod hmm_edu
}

# Two processors, or one whose clock advances to the next timer when it is idle: then
# nobody waits the 0.1 s that the device takes for a copy
sample() { # KERNEL MODULE MIB CPUS
	local options

	options=$(edu_options 64)
	[ "$4" != 1 ] || options+=" -icount shift=3,sleep=off"
	"$here/guest/guest.py" -m 2G -c "$4" -t 3600 -l "$logs/sample-$1-console.log" -a iommu.strict=1 \
		-q="$options" run "$1" bash -c "$(declare -f use_sample); use_sample \"\$@\"" \
		bash "$2" "$build/$1/samples/hmm/hmm_edu_user" "$3"
}

# A driver with a bug must be noticed in the way that the "Seen:" line describes
sample_mutant() { # KERNEL NAME
	local dir=$top/build/sample/$2 diff=$here/mutants/sample/$2.diff seen

	seen=$(sed -n 's/^Seen: //p' "$diff")
	rm -rf "$dir"
	mkdir -p "$dir"
	cp "$build/tree/samples/hmm"/hmm_edu.[ch] "$dir"
	patch -s -F0 -p3 -d "$dir" <"$diff"
	echo "obj-m := hmm_edu.o" >"$dir/Kbuild"
	make -s -C "$build/tree" O="$build/$1" ARCH=x86_64 M="$dir" modules
	if sample "$1" "$dir/hmm_edu.ko" 16 1 >"$dir/log" 2>&1; then
		die "$2 was not noticed; see $dir/log"
	fi
	grep -m 3 -E "$seen" "$dir/log" || die "$2 did not end with \"$seen\"; see $dir/log"
	say "$2: noticed"
}

# Runs a command that counts as one test
one() { # COMMAND...
	if "$@"; then
		echo "1 passed, 0 failed, 0 skipped"
		exit
	fi
	echo "0 passed, 1 failed, 0 skipped"
	exit 1
}

mkdir -p "$logs"
case ${1:-} in
job)
	"$here/base/kernel.sh" "$2"
	storm
	one main_job "${@:2}" ;;
sample-short)
	"$here/base/kernel.sh" "$2"
	one sample "$2" "$build/$2/samples/hmm/hmm_edu.ko" 4 2 ;;
sample)
	# Only an IOMMU notices the mutants, and that of virtio prints other messages
	[ "${IOMMU:-intel}" != intel ] || steps=8 ;;
esac
step "Debian packages" "$here/base/packages.sh" install run
step "Linux $base_version" "$here/base/tree.sh" base
# tree.sh may have chosen another version
. "$here/env.sh"
step "add this repository's files" "$here/base/tree.sh" tree
step "a kernel for x86-64 (6 minutes on two processors, once)" \
	"$here/base/kernel.sh" run
if [ "${1:-}" = sample ]; then
	module=$build/run/samples/hmm/hmm_edu.ko
	step "devices work on a process's memory (2 minutes)" sample run "$module" 16 2
	step "1 GiB of it (10 minutes)" sample run "$module" "${MIB:-1024}" 1
	if [ $steps = 8 ]; then
		step "a driver that leaves pages mapped must be noticed" \
			sample_mutant run still-mapped
		step "a driver that does not wait must be noticed" sample_mutant run not-waited
	fi
	echo "Passed in $SECONDS s. Logs are in ${logs#"$PWD"/}."
	exit
fi
step "compile the stress test and hmmtop" storm
step "RDMA on demand in a guest (3 minutes)" main_job run "$@"
echo "Passed in $SECONDS s. Logs are in ${logs#"$PWD"/}."
