/* SPDX-License-Identifier: GPL-2.0 */
/* There is no such thing in 6.12; see hmm-compat.h */
