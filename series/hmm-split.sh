# SPDX-License-Identifier: GPL-2.0
# files: mm/hmm.c mm/hmm_walk.c mm/hmm_dma.c mm/Makefile
#
# The DMA part of mm/hmm.c begins with the kernel-doc of hmm_dma_map_alloc().
first=$(($(grep -n '^ \* hmm_dma_map_alloc ' mm/hmm.c | cut -d: -f1) - 1))

{
	# With the licence and the copyright of the file that it comes from
	sed '\:^ \*/:q' mm/hmm.c
	cat <<-END
	/*
	 * DMA mappings of what hmm_range_fault() has answered.
	 */
	#include <linux/export.h>
	#include <linux/dma-mapping.h>
	#include <linux/hmm.h>
	#include <linux/hmm-dma.h>
	#include <linux/pci-p2pdma.h>
	#include <linux/slab.h>

	END
	sed -n "$first,\$p" mm/hmm.c
} >mm/hmm_dma.c

sed "$((first - 1)),\$d; /<linux\/\(hmm-dma\|dma-mapping\|pci-p2pdma\)\.h>/d" \
	mm/hmm.c >mm/hmm_walk.c
rm -f mm/hmm.c
sed -i 's/^\(obj-$(CONFIG_HMM_MIRROR) += \)hmm\.o$/\1hmm_walk.o hmm_dma.o/' mm/Makefile
