# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# env.sh - sourced by the scripts here: paths and common functions

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
here=$top/tools/testing/hmm
# The version of Linux to build on: that of BASE=7.2, or what tree.sh fell back to
base_version=${BASE:-$(cat "$top/build/fallback" 2>/dev/null || echo 7.3)}
# FIXED=1 means this Linux with fixes/VERSION, which has its own directory
build=${HMM_BUILD:-$top/build/$base_version}${FIXED:+-fixed}

# The same source results in the same object, whichever clone compiles it
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$top} CCACHE_NOHASHDIR=1
# Filling a cache takes a third of the time: not on a machine that is thrown away
if [ -n "${CI:-}" ] && [ ! -d "${CCACHE_DIR:-$HOME/.cache/ccache}" ]; then
	export CCACHE_DISABLE=1
fi
export KBUILD_BUILD_TIMESTAMP=@1 KBUILD_BUILD_USER=hmm KBUILD_BUILD_HOST=hmm
export LC_ALL=C

say() { echo "${0##*/}: $*"; }
die() { echo "${0##*/}: $*" >&2; exit 1; }

# run_checks ABOUT CHECK...: runs each check_CHECK, and prints how long it took
run_checks() {
	local about=$1 check start

	shift
	for check; do
		[ "$(type -t "check_$check")" = function ] ||
			die "$check: not one of $(declare -F | sed -n 's/^declare -f check_//p' | xargs)"
		start=$SECONDS
		"check_$check"
		say "$about$check: ok, $((SECONDS - start)) s"
	done
}

# dep3 ORIGIN DATE: makes a commit message from stdin the DEP-3 header of a patch
dep3() {
	local subject

	read -r subject
	echo "Description: $subject"
	sed -e '1{/^$/d}' -e :a -e '/^\n*$/{$d;N;ba' -e '}' | sed 's/^$/./; s/^/ /'
	echo "Author: $GIT_AUTHOR_NAME <$GIT_AUTHOR_EMAIL>"
	echo "Origin: other, $1"
	echo "Forwarded: no"
	echo "Last-Update: $2"
	echo "---"
}

# Prints VERSION.PATCHLEVEL of a source tree
linux_version() { # DIR
	awk '$1 == "VERSION" || $1 == "PATCHLEVEL" { v = v "." $3 } END { print substr(v, 2) }' "$1/Makefile"
}

# locked NAME: takes the lock of this name until the script exits
locked() {
	mkdir -p "$build"
	exec 9>"$build/$1.lock"
	flock -n 9 || { say "waiting for the lock on $build"; flock 9; }
}

[[ $base_version =~ ^[1-9][0-9]*\.[0-9]+$ ]] || die "BASE=$base_version: must be a version of Linux such as 7.3, 7.2 or 6.12"
case $top in
*[[:space:]:,\'\"\\]*) die "$top: move the repository to a path without blanks, colons, commas, quotes and backslashes" ;;
esac
