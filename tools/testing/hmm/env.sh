# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# env.sh - sourced by the scripts here: where things are, and how to speak

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
here=$top/tools/testing/hmm
# shellcheck disable=SC2034 # for those who source this
build=${HMM_BUILD:-$top/build/7.3}

# The same source gives the same object, in whichever clone it is compiled
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$top} CCACHE_NOHASHDIR=1
export KBUILD_BUILD_TIMESTAMP=@1 KBUILD_BUILD_USER=hmm KBUILD_BUILD_HOST=hmm
export LC_ALL=C

say() { echo "${0##*/}: $*"; }
die() { echo "${0##*/}: $*" >&2; exit 1; }

# locked NAME: from here on nobody else is in the part of that name
locked() {
	mkdir -p "$build"
	exec 9>"$build/$1.lock"
	flock -n 9 || { say "waiting for another run to leave $build"; flock 9; }
}

case $top in
*[[:space:]:,\'\"\\]*) die "$top: move the repository to a path without blanks, colons, commas and quotes" ;;
esac
