#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# vm.sh [-m MEM] [-c CPUS] [-t SECONDS] [-a KERNEL-ARGS] [-q QEMU-ARGS] [-l LOG] NAME SCRIPT [ARG...]
#
# Boots build/7.3/NAME in QEMU, runs SCRIPT in there and ends as it does. The
# guest has this machine's root file system, read-only; what it writes goes to
# memory (/tmp, /run, ...). A panic, oops, warning or lock report in the console
# log is a failure whatever SCRIPT says.
set -euo pipefail
. "$(dirname "$0")/env.sh"

usage="usage: vm.sh [-m MEM] [-c CPUS] [-t SECONDS] [-a KERNEL-ARGS] [-q QEMU-ARGS] [-l LOG] NAME SCRIPT [ARG...]"
mem=2G cpus=2 seconds=600 args='' log='' qemu_args=()
while getopts m:c:t:a:q:l: option; do
	case $option in
	m) mem=$OPTARG ;;
	c) cpus=$OPTARG ;;
	t) seconds=$OPTARG ;;
	a) args=$OPTARG ;;
	q) read -ra qemu_args <<<"$OPTARG" ;;
	l) log=$OPTARG ;;
	*) die "$usage" ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || die "$usage"
name=$1 script=$(readlink -f "$2")
shift 2
kernel=$build/$name/vmlinux
[ -f "$kernel" ] || die "$kernel: not there; build it with kernel.sh"
[ -x "$script" ] || die "$script: not there, or not to be executed"
log=${log:-$build/$name/console.log}
mkdir -p "$(dirname "$log")"
: >"$log"

job=$(mktemp -d "$build/vm.XXXXXX")
trap 'rm -rf "$job"' EXIT
{
	printf 'visible=(%q %q %q %q)\n' "$top" "$build" "$(dirname "$script")" "$PWD"
	printf 'dir=%q\n' "$PWD"
	printf 'command=('
	printf '%q ' "$script" "$@"
	printf ')\n'
} >"$job/job"

# A busy host makes the guest look stuck for longer than its watchdogs bear
patience="sysctl.kernel.watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=300 sysctl.kernel.hung_task_timeout_secs=600"

# Threads and -icount exclude each other
threads=multi
[ "$cpus" != 1 ] || threads=single
# The port is closed to the guest when QEMU's input ends: a FIFO never does. And
# QEMU has its output not block, which is for nobody else to bear: hence cat.
mkfifo "$job/in"
status=0
timeout --foreground -k 5 "$seconds" qemu-system-x86_64 \
	-machine q35 -accel tcg,thread=$threads -cpu max,la57=off -smp "$cpus" -m "$mem" \
	-nodefaults -no-user-config -display none -no-reboot \
	-kernel "$kernel" \
	-append "console=ttyS0 loglevel=8 panic=-1 oops=panic root=root rootfstype=9p rootflags=trans=virtio,version=9p2000.L,msize=512000,cache=loose ro init=$here/guest.sh mitigations=off nokaslr $patience $args -- $job/job" \
	-virtfs local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap \
	-serial "file:$log" \
	-device virtio-serial -chardev stdio,id=out,signal=off \
	-device virtserialport,chardev=out,name=out \
	-chardev "file,id=status,path=$job/status" \
	-device virtserialport,chardev=status,name=status \
	${qemu_args[@]+"${qemu_args[@]}"} \
	<>"$job/in" | cat || status=${PIPESTATUS[0]}

if grep -aE "$splat" "$log" | head -5 | grep . >&2; then
	die "$name: the kernel complains; see $log"
elif [ "$status" = 124 ] || [ "$status" = 137 ]; then
	die "$name: stopped after $seconds s; see $log"
elif [ "$status" != 0 ]; then
	die "$name: QEMU ended with $status; see $log"
elif [ ! -s "$job/status" ]; then
	tail -3 "$log" >&2
	die "$name: the guest ended early; see $log"
fi
exit "$(head -1 "$job/status")"
