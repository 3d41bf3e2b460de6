/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * What hmm_edu.c offers to a program that has opened /dev/hmm_edu-*
 */
#ifndef HMM_EDU_H
#define HMM_EDU_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * The most that one ioctl copies.  The device's buffer has 4096 bytes, but QEMU 7.2
 * aborts when the last one is used.
 */
#define HMM_EDU_BUFFER	4088

/* From the device's buffer to memory; otherwise from memory to the buffer */
#define HMM_EDU_TO_MEMORY	1

/**
 * struct hmm_edu_copy - copy between memory and the beginning of the buffer
 * @addr: the caller's own address, of any alignment
 * @len: bytes, at most HMM_EDU_BUFFER
 * @flags: HMM_EDU_TO_MEMORY, or 0
 * @faults: returns how often the driver has asked for a page
 * @notified: returns how often the driver was told that pages go away
 *
 * Both counts begin when the device is opened.  After an error they are not
 * returned, and part of the memory may have been copied.
 */
struct hmm_edu_copy {
	__u64 addr;
	__u32 len;
	__u32 flags;
	__u64 faults;
	__u64 notified;
};

#define HMM_EDU_COPY	_IOWR('H', 0x80, struct hmm_edu_copy)

#endif /* HMM_EDU_H */
