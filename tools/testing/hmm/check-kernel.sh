#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# check-kernel.sh [stock] - the kernel in which tests run, all checks on
set -euo pipefail
. "$(dirname "$0")/env.sh"

if [ "${1:-}" = stock ]; then
	exec "$here/kernel.sh" stock-check stock x86_64 vm hmm rdma debug kasan
fi
exec "$here/kernel.sh" check tree x86_64 vm hmm rdma debug kasan
