#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# bench.sh [native] [writer] [emulated] [scaling] - measure whether hmm_range_fault() is fast enough
#
#   native    times it in User Mode Linux against stock's, which is built into
#             the same kernel, against its lower bound and against its peers
#   writer    times it with two processors, beside a thread that maps and unmaps memory
#             all the time, and what its locks cost if nobody does
#   emulated  counts in QEMU what huge pages, page faults, migration to a device and DMA
#             cost, on both kernels
#   scaling   times two threads on two processors in QEMU
#
# Without arguments, runs all of it and compares it with bench/targets.tsv. The exit
# status is 1 if a target is missed that is not marked there. Samples, medians and the
# chart are in build/bench. BENCH_ROUNDS=n takes n samples of each time; BENCH_CPU=n runs
# the native part on that processor.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

out=$top/build/bench
bench=$here/bench
farm=$build/bench-tree
rounds=${BENCH_ROUNDS:-31}
cpu=${BENCH_CPU:-$(taskset -cp $$ | grep -o '[0-9]*$')}

[[ $rounds =~ ^[0-9]+$ && $rounds -ge 9 ]] || die "BENCH_ROUNDS=$rounds: must be a number, at least 9"

# put FILE: writes standard input to FILE, unless that has the same contents
put() {
	cat > "$farm/new"
	if cmp -s "$farm/new" "$1"; then rm "$farm/new"; else mv "$farm/new" "$1"; fi
}

# The kernel as symbolic links, plus the bench and stock's walker under other names
make_farm() {
	local source=$build/tree stock=$build/base dir file name

	mkdir -p "$farm/mm" "$farm/fs/proc"
	# Real directories only where a file must differ; the rest stays links
	for dir in . fs fs/proc mm; do
		for file in "$source/$dir"/* "$source/$dir"/.[!.]*; do
			name=$farm/$dir/${file##*/}
			[ -e "$name" ] || [ ! -e "$file" ] || ln -s "$file" "$name"
		done
	done
	for file in mm/Makefile mm/Kconfig fs/proc/task_mmu.c; do
		[ ! -L "$farm/$file" ] || rm "$farm/$file"
	done

	{
		cat "$source/mm/Makefile"
		cat <<-END
		obj-\$(CONFIG_HMM_BENCH) += hmm_stock.o
		obj-\$(CONFIG_HMM_BENCH) += \$(if \$(CONFIG_SMP),hmm_bench_writer.o hmm_mmap_lock.o,hmm_bench.o)
		CFLAGS_hmm_bench.o += -I$bench
		CFLAGS_hmm_bench_writer.o += -I$bench
		CFLAGS_hmm_stock.o += -include $stock/include/linux/hmm.h \\
		$(grep -o 'EXPORT_SYMBOL[_A-Z]*([a-z_]*)' "$stock/mm/hmm.c" |
			sed 's/.*(\(.*\))/\t-D\1=stock_\1 \\/')
			-include $stock/include/linux/hmm-dma.h
		END
	} | put "$farm/mm/Makefile"

	{
		cat "$source/mm/Kconfig"
		printf '\nconfig HMM_BENCH\n\tbool "Measure hmm_range_fault()"\n\tselect HMM_MIRROR\n'
		# Our walker takes the locks of VMAs if there are any
		printf '\tselect ARCH_SUPPORTS_PER_VMA_LOCK\n'
	} | put "$farm/mm/Kconfig"

	put "$farm/mm/hmm_bench.c" < "$bench/native.c"
	put "$farm/mm/hmm_bench_writer.c" < "$bench/writer.c"
	put "$farm/mm/hmm_stock.c" < "$stock/mm/hmm.c"
	put "$farm/mm/hmm_mmap_lock.c" <<-END
	/* Ours as it is where VMAs have no lock */
	#include <linux/mm.h>
	#undef CONFIG_PER_VMA_LOCK
	#define lock_vma_under_rcu(mm, addr)		NULL
	#define hmm_range_fault				mmap_lock_hmm_range_fault
	#define hmm_range_fault_unlocked_timeout	mmap_lock_hmm_range_fault_unlocked_timeout
	#include "$source/mm/hmm.c"
	END
	put "$farm/fs/proc/task_mmu.c" <<-END
	#include "$source/fs/proc/task_mmu.c"
	#include "$bench/hmm_bench.h"

	long hmm_bench_pagemap_scan(struct mm_struct *mm, unsigned long uarg)
	{
		return do_pagemap_scan(mm, uarg);
	}
	END
}

# in_uml PART OPTION... -- FRAGMENT...: builds all walkers and what measures them, runs it
in_uml() {
	local part=$1 kernel=bench-um options=()

	[ "$part" = native ] || kernel+=-$part
	shift
	while [ "$1" != -- ]; do options+=("$1"); shift; done
	shift
	"$here/base/tree.sh" tree
	make_farm
	say "$part: building User Mode Linux with both walkers"
	"$here/base/kernel.sh" "$kernel" bench-tree um "${@/#/$bench/}"
	say "$part: $rounds rounds, some minutes"
	TMPDIR=/dev/shm timeout 1800 "${cpus[@]}" "$build/$kernel/linux" con=null con0=fd:0,fd:1 \
		"${options[@]}" </dev/null >"$out/$part.log" 2>&1 ||
		true # the result is in the log
	grep -q $'hmm-bench: end\t0' "$out/$part.log" ||
		die "$part: $(grep -m1 hmm-bench: "$out/$part.log" || echo did not start); see $out/$part.log"
	tr -d '\r' <"$out/$part.log" | awk -F'hmm-bench: ' -v OFS='\t' '
	NF == 2 && split($2, f, "\t") == 5 { print f[1], f[2], f[3], f[5] / f[4], (f[4] > 1 ? "ns/page" : "ns") }' >"$out/$part.tsv"
}

native() {
	local cpus=(taskset -c "$cpu")

	in_uml native mem=1G "hmm_bench.rounds=$rounds" -- native.config
}

# in_guest KERNEL WHO OPTION... -- CASE...: prints the output of counts
in_guest() {
	local kernel=$1 who=$2 options=()

	shift 2
	while [ "$1" != -- ]; do options+=("$1"); shift; done
	shift
	"$here/guest/guest.py" -d memory "${options[@]}" -l "$out/$kernel.log" run "$kernel" \
		"$out/counts" "$who" "$@"
}

guests() {
	"$here/base/kernel.sh" run
	"$here/base/kernel.sh" stock-run
	gcc -O2 -Wall -o "$out/counts" "$bench"/{counts,devices,events}.c \
		"$top/tools/testing/selftests/hmm/lib.c" -lpthread
}

emulated() {
	local kernel who

	guests
	: >"$out/emulated.tsv"
	for kernel in run stock-run; do
		if [ "$kernel" = run ]; then who=ours; else who=stock; fi
		say "emulated: counting, $kernel"
		in_guest "$kernel" "$who" -c 1 -- calls >>"$out/emulated.tsv"
		# With caching mode, the IOMMU is told of new mappings, too
		in_guest "$kernel" "$who" -c 2 "--qemu=-device intel-iommu,caching-mode=on -device edu" \
			-- devices >>"$out/emulated.tsv"
		say "emulated: counting instructions, $kernel"
		in_guest "$kernel" "$who" -c 1 -t 1200 "--qemu=-icount shift=0,sleep=off" -- \
			fault-instructions call-instructions device-instructions latency \
			>>"$out/emulated.tsv"
	done
	say "emulated: counting instructions, without events in mm/hmm.c"
	KERNEL_MAKE=CFLAGS_hmm.o=-DNOTRACE "$here/base/kernel.sh" no-events
	in_guest no-events no-events -c 1 "--qemu=-icount shift=0,sleep=off" -- \
		call-instructions >>"$out/emulated.tsv"
}

# UML has several processors with seccomp only. Each guest runs one kernel, so the kernels
# take turns.
writer() {
	local cpus=() turn

	in_uml writer mem=2G ncpus=2 seccomp=on "hmm_bench_writer.rounds=$rounds" -- \
		native.config smp.config
	guests
	for turn in 1 2 3; do
		say "writer: two processors in QEMU, turn $turn of 3"
		in_guest run ours -c 2 -- writer >>"$out/writer.tsv"
		in_guest stock-run stock -c 2 -- writer >>"$out/writer.tsv"
	done
}

scaling() {
	guests
	say "scaling: two threads on two processors"
	in_guest run ours -c 2 -- scaling >"$out/scaling.tsv"
	in_guest stock-run stock -c 2 -- scaling >>"$out/scaling.tsv"
}

partial=''
if [ $# -gt 0 ]; then partial=partial; else set -- native writer emulated scaling; fi
for part; do
	[[ $part =~ ^(native|writer|emulated|scaling)$ ]] ||
		die "$part: not one of native, writer, emulated, scaling"
done

mkdir -p "$out"
locked bench
rm -f "$out"/*.tsv
for part; do
	case $part in
	native) native ;;
	writer) writer ;;
	emulated) emulated ;;
	scaling) scaling ;;
	esac
done

{
	echo "# make bench: Linux $(make -s -C "$build/base" kernelversion), $(gcc --version | head -1), $(date -u +%F)"
	for part; do cat "$out/$part.tsv"; done
} >"$out/samples.tsv"
status=0
"$bench/judge.py" "$out/samples.tsv" "$bench/targets.tsv" "$out/medians.tsv" $partial | tee "$out/table.txt" || status=$?
[ ! -s "$out/native.tsv" ] || (cd "$out" && gnuplot "$bench/chart.gp" && sed -i 's/ *$//' chart.svg) || die "no chart; is gnuplot installed?"
say "samples, medians and chart are in $out"
exit "$status"
