#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# run.sh - from a bare Debian machine to RDMA over this hmm_range_fault()
# run.sh job KERNEL - only the last step, on another kernel, and a count
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
}

main_job() { # KERNEL [ARG]...
	"$here/guest/guest.py" -m 3G -t 1500 -l "$logs/main-job-$1-console.log" run "$1" \
		"$here/run/main-job.sh" "$build/$1" "$build/programs" "${@:2}"
}

mkdir -p "$logs"
if [ "${1:-}" = job ]; then
	"$here/base/kernel.sh" "$2"
	storm
	if main_job "${@:2}"; then
		echo "1 passed, 0 failed, 0 skipped"
		exit
	fi
	echo "0 passed, 1 failed, 0 skipped"
	exit 1
fi
step "Debian packages" "$here/base/packages.sh" install run
step "Linux $base_version" "$here/base/tree.sh" base
# tree.sh may have chosen another version
. "$here/env.sh"
step "this repository's files over it" "$here/base/tree.sh" tree
step "a kernel for x86-64 (6 minutes on two processors, once)" \
	"$here/base/kernel.sh" run
step "the program that makes pages go away" storm
step "RDMA on demand in a guest (3 minutes)" main_job run "$@"
echo "All of it happened, in $SECONDS s. Logs are in ${logs#"$PWD"/}."
