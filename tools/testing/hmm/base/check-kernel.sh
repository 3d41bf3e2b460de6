#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# check-kernel.sh [stock] - the kernel in which tests run, with its checks on
set -euo pipefail
. "$(dirname "$0")/../env.sh"

case ${1:-} in
'') exec "$here/base/kernel.sh" check tree x86_64 vm hmm rdma debug ;;
stock) exec "$here/base/kernel.sh" stock-check stock x86_64 vm hmm rdma debug ;;
*) die "$1: there is stock" ;;
esac
