#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# run.sh - from a bare Debian machine to RDMA over this hmm_range_fault()
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

main_job() {
	"$here/vm.sh" -m 2G -t 900 -l "$logs/run-console.log" run \
		"$here/run/main-job.sh" "$build/run" "$build/programs" "$@"
}

mkdir -p "$logs"
step "Debian packages" "$here/base/packages.sh" run
step "Linux 7.3" "$here/base/tree.sh" base
step "this repository's files over it" "$here/base/tree.sh" tree
step "a kernel for x86-64 (6 minutes on two processors, once)" \
	"$here/base/kernel.sh" run tree x86_64 vm hmm rdma
step "the program that asks for trouble" "$here/base/programs.sh" torture
step "RDMA on demand in a guest (3 minutes)" main_job "$@"
echo "All of it happened, in $SECONDS s. Logs are in ${logs#"$PWD"/}."
