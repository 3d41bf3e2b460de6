#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# guest.sh OBJDIR COHERENT COUNTS ARG... - what ../bench.sh runs in the guest
set -euo pipefail

insmod "$1/lib/test_hmm_range.ko" "coherent=$2"
shift 2
exec "$@"
