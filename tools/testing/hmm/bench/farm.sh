#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# farm.sh SOURCE STOCK FARM: the kernel SOURCE by symbolic links, with the
# bench in it and the walker of the kernel STOCK under other names.
set -eu

bench=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$1" && pwd)
stock=$(cd "$2" && pwd)
farm=$3

# put FILE: standard input, unless that is what FILE has already
put() {
	cat > "$farm/new"
	if cmp -s "$farm/new" "$1"; then rm "$farm/new"; else mv "$farm/new" "$1"; fi
}

mkdir -p "$farm/mm" "$farm/fs/proc"
# Two directories deep where a file is to differ, so that the rest stays links
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
	obj-\$(CONFIG_HMM_BENCH) += hmm_bench.o hmm_stock.o
	CFLAGS_hmm_bench.o += -I$bench
	CFLAGS_hmm_stock.o += -include $stock/include/linux/hmm.h \\
	$(grep -o 'EXPORT_SYMBOL[_A-Z]*([a-z_]*)' "$stock/mm/hmm.c" |
		sed 's/.*(\(.*\))/\t-D\1=stock_\1 \\/')
		-include $stock/include/linux/hmm-dma.h
	END
} | put "$farm/mm/Makefile"

{
	cat "$source/mm/Kconfig"
	printf '\nconfig HMM_BENCH\n\tbool "Measure hmm_range_fault()"\n\tselect HMM_MIRROR\n'
} | put "$farm/mm/Kconfig"

put "$farm/mm/hmm_bench.c" < "$bench/native.c"
put "$farm/mm/hmm_stock.c" < "$stock/mm/hmm.c"
put "$farm/fs/proc/task_mmu.c" <<END
#include "$source/fs/proc/task_mmu.c"
#include "$bench/hmm_bench.h"

long hmm_bench_pagemap_scan(struct mm_struct *mm, unsigned long uarg)
{
	return do_pagemap_scan(mm, uarg);
}
END
