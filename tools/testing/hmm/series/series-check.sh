#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# series-check.sh [CHECK]... - can the series be sent?
#
#   repeat      a second run produces the same output
#   equal       the result of the last patch is what is in this repository
#   am          git am applies the mails to plain Linux
#   quilt       quilt applies them, too
#   checkpatch  has only complaints that series/checkpatch justifies
#   steps       after each patch, everything that the series touches compiles on x86-64
#
# steps compiles objects, not a kernel, because a kernel with all these drivers takes an
# hour. All other tests run on the result of the last patch. No patch touches arch/;
# make arch compiles the last one for other architectures.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

out=$top/build/series
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
git=(env -u GIT_DIR -u GIT_WORK_TREE -u GIT_INDEX_FILE GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
	git -c user.name=check -c user.email=check@localhost)
linux=("${git[@]}" --git-dir="$out/linux.git")

made() { "${linux[@]}" rev-parse 'hmm^{tree}'; }

# The tree object of base with the files in DIR; paths that do not exist are removed
tree_of() { # DIR PATH...
	(
		export GIT_DIR=$out/linux.git GIT_WORK_TREE=$1 GIT_INDEX_FILE=$tmp/index
		git read-tree base
		printf '%s\n' "${@:2}" | git update-index --add --remove --stdin
		git write-tree
	)
}

same() { # WHAT TREE
	[ "$2" = "$(made)" ] && return
	"${linux[@]}" diff --stat hmm "$2" >&2
	die "$1 differs from the series: see above"
}

check_repeat() {
	local before

	before=$("${linux[@]}" rev-parse for-linus-hmm; cat "$out"/{patches,quilt/patches}/* "$out/pull-request" | sha256sum)
	"$here/series/series.sh" >/dev/null
	[ "$before" = "$("${linux[@]}" rev-parse for-linus-hmm
		cat "$out"/{patches,quilt/patches}/* "$out/pull-request" | sha256sum)" ] ||
		die "a second run produces a different series"
}

# Files that the series removes; the overlay leaves them, but nothing builds them
removed() { sed -ns '1,/^---$/d; s/^-//p' "$top"/series/*.msg; }

check_equal() {
	local stage=$tmp/stage paths

	mkdir "$stage"
	"$here/base/overlay.sh" lay-out "$build/base" "$stage"
	mapfile -t paths < <(find "$stage" -type f -printf '%P\n'; removed)
	same "the overlay" "$(tree_of "$stage" "${paths[@]}")"
}

# All files that the patches touch
touched() { "${linux[@]}" log --no-renames --name-only --format= base..hmm | sort -u; }

check_am() {
	local dir=$tmp/am mails=("$out"/patches/*.patch)

	"${git[@]}" clone -q --shared --no-checkout "$out/linux.git" "$dir"
	touched | "${git[@]}" -C "$dir" sparse-checkout set --no-cone --stdin
	"${git[@]}" -C "$dir" checkout -q base
	"${git[@]}" -C "$dir" am -q "${mails[@]:1}" \
		>"$tmp/log" 2>&1 || { cat "$tmp/log" >&2; die "git am rejects the mails"; }
	same "what git am makes" "$("${git[@]}" -C "$dir" rev-parse 'HEAD^{tree}')"
}

check_quilt() {
	local dir=$tmp/quilt paths

	command -v quilt >/dev/null || die "quilt: not found; install it"
	mkdir "$dir"
	mapfile -t paths < <(touched)
	"${linux[@]}" ls-tree -r --name-only base -- "${paths[@]}" |
		tr '\n' '\0' | xargs -0 "${linux[@]}" archive base -- | tar -x -C "$dir"
	cp -r "$out/quilt/patches" "$dir"
	(cd "$dir" && QUILT_PATCHES=patches quilt --quiltrc=- push -a >"$tmp/log" 2>&1) ||
		{ tail -5 "$tmp/log" >&2; die "quilt rejects the patches"; }
	same "what quilt makes" "$(tree_of "$dir" "${paths[@]}")"
}

# A line "PATCH TYPE" in series/checkpatch, both shell patterns, allows complaints of
# this type in these patches
allowed() { # PATCH TYPE
	local name type

	while read -r name type _; do
		# shellcheck disable=SC2053 # patterns they are
		[[ $1 != $name || $2 != $type ]] || return 0
	done < <(sed 's/#.*//; /^[[:space:]]*$/d' "$top/series/checkpatch")
	return 1
}

check_checkpatch() {
	local mails=("$out"/patches/*.patch) name line type bad=0 n=0 signed=1

	if grep -q '^Subject: \[UNSIGNED' "${mails[1]}"; then
		signed=''
		say "not signed off; do that before you send it"
	fi
	while read -r name; do
		n=$((n + 1))
		while IFS= read -r line; do
			type=$(sed -nE 's/.*(ERROR|WARNING|CHECK):([A-Z0-9_]+): .*/\2/p' <<<"$line")
			[ -n "$type" ] || continue
			[ "$type" != MISSING_SIGN_OFF ] || [ -n "$signed" ] || continue
			if ! allowed "$name" "$type"; then
				echo "$name: $line" >&2
				bad=$((bad + 1))
			fi
		done < <(cd "$build/tree" && perl scripts/checkpatch.pl --strict --terse --show-types \
			--no-summary "${mails[n]}" 2>&1 | sed "s|^$out/patches/||")
	done < <(sed 's/[[:space:]]*#.*//; /^$/d' "$top/series/order")
	[ $bad = 0 ] || die "checkpatch: $bad complaints that series/checkpatch does not justify"
}

configure() { # TREE OBJ
	local fragment=$here/config/series.config

	make -s -C "$1" O="$2" tinyconfig
	"$1/scripts/kconfig/merge_config.sh" -m -O "$2" "$2/.config" "$fragment" >/dev/null
	make -s -C "$1" O="$2" olddefconfig
}

# Brings TREE to a commit, changing as few files as possible
go_to() { # TREE COMMIT
	local path

	while read -r path; do
		rm -f "$1/$path"	# may be a link to base
		mkdir -p "$1/$(dirname "$path")"
		"${linux[@]}" cat-file blob "$2:$path" >"$1/$path" 2>/dev/null || rm -f "$1/$path"
	done < <("${linux[@]}" diff --no-renames --name-only "$2^" "$2")
}

# What a step may break: the files that it touches. If it touches a header, all files
# that the series touches or that call hmm_range_fault(), if they exist
objects() { # TREE COMMIT
	local path step

	step=$("${linux[@]}" diff --no-renames --name-only "$2^" "$2")
	if grep -q '\.h$' <<<"$step"; then
		echo "$sources"
	else
		grep -E '^((mm|lib|drivers)/.*|samples/hmm/hmm_edu)\.c$' <<<"$step" || true
	fi | while read -r path; do
		[ ! -e "$1/$path" ] || echo "$path"
	done | sed 's|/amdkfd/|/amdgpu/../amdkfd/|; s|\.c$|.o|'
}

check_steps() {
	local tree=$out/steps obj=$out/obj cc=gcc commit n=0 all log=$out/steps.log sources wanted

	! command -v ccache >/dev/null || cc="ccache gcc"
	rm -rf "$tree"
	cp -al "$build/base" "$tree"
	mkdir -p "$obj"
	configure "$tree" "$obj"
	sources=$(touched | grep -E '^((mm|lib|drivers)/.*|samples/hmm/hmm_edu)\.c$'
		cd "$build/tree" && grep -rlE '\bhmm_range_fault' drivers --include='*.c')
	all=$("${linux[@]}" rev-list --count base..hmm)
	for commit in $("${linux[@]}" rev-list --reverse base..hmm); do
		n=$((n + 1))
		! "${linux[@]}" diff --name-only "$commit^" "$commit" | grep '^arch/' ||
			die "step $n touches arch/, and this script compiles for x86-64 only"
		go_to "$tree" "$commit"
		say "step $n of $all: $("${linux[@]}" log -1 --format=%s "$commit")"
		! "${linux[@]}" diff --name-only "$commit^" "$commit" | grep -q Kconfig || configure "$tree" "$obj"
		mapfile -t wanted < <(objects "$tree" "$commit" | buildable "$tree" "$obj" | sort -u)
		[ ${#wanted[@]} -gt 0 ] || continue
		make -s -C "$tree" O="$obj" CC="$cc" -j"$(nproc)" "${wanted[@]}" >"$log" 2>&1 ||
			{ grep -m 20 -E 'error|undefined|\*\*\*' "$log" >&2; die "step $n does not compile; see $log"; }
		! grep -E ': warning:' "$log" >&2 || die "step $n: warnings"
	done
	rm -rf "$tree"
}

# Without objects that are not built at this step
buildable() { # TREE OBJ
	local hidden=(accel/amdxdna)

	grep -qw hmm_walk.o "$1/mm/Makefile" || hidden+=('^mm/hmm_walk\.o$')
	grep -q '^CONFIG_HMM_KUNIT_TEST=' "$2/.config" || hidden+=('^mm/tests/')
	grep -vE "$(IFS='|'; echo "${hidden[*]}")" || true
}

"$here/series/series.sh"
[ $# -gt 0 ] || set -- repeat equal am quilt checkpatch steps
run_checks '' "$@"
