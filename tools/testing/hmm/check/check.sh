#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# check.sh [NAME]... - run the suites of check/suites, or those with NAME in their name
#
# A suite that exits with an error but reports no failure, or prints no count, adds one failure.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

logs=$top/build/log
passed=0 failed=0 skipped=0

counts='^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$'

selected() { # [NAME]...
	local suite command name

	while read -r suite command; do
		[ $# -gt 0 ] || echo "$suite $command"
		for name; do
			[[ $suite != *"$name"* ]] || echo "$suite $command"
		done
	done < <(grep '^[0-9]' "$here/check/suites")
}

# Prints progress once a minute; the sleep must not keep a pipe open
watch() { # LOG
	local start=$SECONDS

	while sleep 60 >/dev/null 2>&1; do
		printf '      %d min: %.90s\n' $(((SECONDS - start) / 60)) "$(tail -1 "$1")"
	done
}

add() { # SUITE STATUS LOG
	local name=$1 p=0 f=0 s=0

	if [[ $(tail -1 "$3") =~ $counts ]]; then
		p=${BASH_REMATCH[1]} f=${BASH_REMATCH[2]} s=${BASH_REMATCH[3]}
	elif [ "$2" = 0 ]; then
		echo "$name: printed no count of tests" >>"$3"
		f=1
	fi
	[ "$2" = 0 ] || [ "$f" -gt 0 ] || f=1
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	if [ "$f" -gt 0 ]; then
		grep -aE '^(not ok|# not ok|FAIL|why:)|^[a-z-]+\.(sh|py): ' "$3" | tail -30 >&2 || true
		echo "      see $3" >&2
	fi
	echo "      $p passed, $f failed, $s skipped"
}

run() { # SUITE COMMAND...
	local log=$logs/$1.log start=$SECONDS status=0 watcher

	: >"$log"
	watch "$log" &
	watcher=$!
	"$here/$2" "${@:3}" >"$log" 2>&1 </dev/null || status=$?
	kill $watcher
	wait $watcher 2>/dev/null || true
	add "$1" "$status" "$log"
	echo "      $((SECONDS - start)) s"
}

mkdir -p "$logs"
mapfile -t suites < <(selected "$@")
[ ${#suites[@]} -gt 0 ] || die "$*: no such suite; see tools/testing/hmm/check/suites"
echo "[0/${#suites[@]}] installing packages, preparing Linux, building the kernel"
"$here/base/packages.sh" install check
"$here/base/kernel.sh" check
echo "      $SECONDS s"
i=0
for suite in "${suites[@]}"; do
	i=$((i + 1))
	read -ra words <<<"$suite"
	echo "[$i/${#suites[@]}] ${words[0]}"
	run "${words[@]}"
done
echo "took $SECONDS s; logs are in $logs"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
