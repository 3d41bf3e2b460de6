#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# series-check.sh [-n] [CHECK]... - can the series be sent?
#
#   equal       the result of all series is what is in this repository
#   am          git am applies the mails: each series to plain Linux, and one after the other
#   quilt       quilt applies each series, and all of them, without fuzz
#   addressed   each mail has a To:, and security fixes go to no list
#   checkpatch  has only complaints that series/checkpatch justifies
#   kernel-doc  has no complaint that plain Linux does not have
#   codespell   finds no mistake in messages and added lines
#   repeat      a second run produces the same output
#   steps       after each patch, what the patch touches compiles: on x86-64, and what is
#               not a driver also on arm and um with W=1. SERIES="rdma drm" selects
#               series, ARCHES="x86_64" architectures
#
# steps compiles objects, not a kernel, because a kernel with all these drivers takes an
# hour. All other tests run on the result of the last patch. make arch compiles that for
# other architectures. -n: with the series of the last run.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

out=$top/build/series
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
git=(env -u GIT_DIR -u GIT_WORK_TREE -u GIT_INDEX_FILE GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
	git -c user.name=check -c user.email=check@localhost)
linux=("${git[@]}" --git-dir="$out/linux.git")

names() { sed -nE 's/^\[([^] ]*).*/\1/p' "$top/series/order"; }

made() { "${linux[@]}" rev-parse "refs/heads/$1^{tree}"; }

# The tree object of base with the files in DIR; paths that do not exist are removed
tree_of() { # DIR PATH...
	(
		export GIT_DIR=$out/linux.git GIT_WORK_TREE=$1 GIT_INDEX_FILE=$tmp/index
		git read-tree base
		printf '%s\n' "${@:2}" | git update-index --add --remove --stdin
		git write-tree
	)
}

same() { # NAME WHAT TREE
	[ "$3" = "$(made "$1")" ] && return
	"${linux[@]}" diff --stat "refs/heads/$1" "$3" >&2
	die "$2 differs from the series $1: see above"
}

checksum() { (cd "$out" && find . -path ./linux.git -prune -o -path './*/*' -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum); }

check_repeat() {
	local before

	before=$(checksum)
	"$here/series/series.sh" >/dev/null
	[ "$before" = "$(checksum)" ] || die "a second run produces different series"
}

# Files that the series removes; the overlay leaves them, but nothing builds them
removed() { sed -ns '1,/^---$/d; s/^-//p' "$top"/series/*.msg; }

check_equal() {
	local stage=$tmp/stage paths

	mkdir "$stage"
	"$here/base/overlay.sh" lay-out "$build/base" "$stage"
	mapfile -t paths < <(find "$stage" -type f -printf '%P\n'; removed)
	same all "the overlay" "$(tree_of "$stage" "${paths[@]}")"
}

# All files that the patches of a series touch
touched() { "${linux[@]}" log --no-renames --name-only --format= "base..refs/heads/$1" | sort -u; }

# The mails in a directory, which is missing if all patches are in series before
no_covers() { # DIR
	[ ! -d "$1" ] || find "$1" -name '*.patch' ! -name '0000-*' | sort
}

# Those of plain Linux
unpack() { # NAME DIR
	mkdir "$2"
	touched "$1" | xargs -d '\n' "${linux[@]}" ls-tree -r --name-only base -- |
		tr '\n' '\0' | xargs -0 "${linux[@]}" archive base -- | tar -x -C "$2"
}

am() { # NAME MAIL...
	local name=$1 dir=$tmp/am-$1 paths

	shift
	unpack "$name" "$dir"
	(
		cd "$dir"
		"${git[@]}" init -q
		"${git[@]}" add -A -f
		"${git[@]}" commit -qm base
		"${git[@]}" am -q "$@"
	) >"$tmp/log" 2>&1 || { cat "$tmp/log" >&2; die "git am rejects the mails of $name"; }
	rm -rf "$dir/.git"
	mapfile -t paths < <(touched "$name")
	same "$name" "what git am makes" "$(tree_of "$dir" "${paths[@]}")"
}

check_am() {
	local name all

	for name in $(names); do
		mapfile -t all < <(no_covers "$out/$name/patches")
		am "$name" "${all[@]}"
	done
	mapfile -t all < <(for name in $(names); do no_covers "$out/all/patches/$name"; done)
	am all "${all[@]}"
}

check_quilt() {
	local name dir paths

	command -v quilt >/dev/null || die "quilt: not found; install it"
	for name in $(names) all; do
		dir=$tmp/quilt-$name
		unpack "$name" "$dir"
		mapfile -t paths < <(touched "$name")
		cp -r "$out/$name/quilt/patches" "$dir"
		(cd "$dir" && QUILT_PATCHES=patches quilt --quiltrc=- push -a --fuzz=0 >"$tmp/log" 2>&1) ||
			{ tail -5 "$tmp/log" >&2; die "quilt rejects the patches of $name"; }
		! grep -E '\((fuzz|offset)' "$tmp/log" >&2 || die "the patches of $name apply elsewhere"
		same "$name" "what quilt makes" "$(tree_of "$dir" "${paths[@]}")"
	done
}

check_addressed() {
	local mails mail

	mapfile -t mails < <(find "$out"/*/patches -name '*.patch')
	[ "${#mails[@]}" -gt "$("${linux[@]}" rev-list --count base..refs/heads/all)" ] || die "mails are missing"
	! grep -L '^To: ' "${mails[@]}" | grep . || die "these mails have no To:"
	# The messages, too: git send-email takes Cc: from there
	! for mail in "$out"/{security/patches,all/patches/security}/*; do
		sed '/^---$/q' "$mail"
	done | grep -E '^(To|Cc|   ).*@(vger|lists|kvack)' ||
		die "mails of the series security would go to these lists"
	! sed -s '/^$/q' "$out"/{security/patches,all/patches/security}/* | grep -E '^Subject: .*[0-9]/' ||
		die "mails of the series security are numbered, but not for a series"
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

# The patches of all series, each once, and the mail of each: "PATCH MAIL"
mails() {
	paste -d' ' <("$here/series/series.sh" order all) \
		<(for name in $(names); do no_covers "$out/all/patches/$name"; done)
}

check_checkpatch() {
	local name mail line type bad=0 signed=1

	read -r _ mail < <(mails)
	if grep -q '^Subject: \[UNSIGNED' "$mail"; then
		signed=''
		say "not signed off; do that before you send it"
	fi
	while read -r name mail; do
		while IFS= read -r line; do
			type=$(sed -nE 's/.*(ERROR|WARNING|CHECK):([A-Z0-9_]+): .*/\2/p' <<<"$line")
			[ -n "$type" ] || continue
			[ "$type" != MISSING_SIGN_OFF ] || [ -n "$signed" ] || continue
			if ! allowed "$name" "$type"; then
				echo "$name: ${line#"$out"/all/patches/}" >&2
				bad=$((bad + 1))
			fi
		done < <(cd "$tmp" && perl "$build/base/scripts/checkpatch.pl" --root="$build/base" --strict \
			--terse --show-types --no-summary "$mail" 2>&1)	# it writes to where it is
	done < <(mails)
	[ $bad = 0 ] || die "checkpatch: $bad complaints that series/checkpatch does not justify"
}

# What kernel-doc says of the C files at a commit, without line numbers
doc_complaints() { # COMMIT
	local dir=$tmp/doc path

	rm -rf "$dir"
	mkdir "$dir"
	while read -r path; do
		mkdir -p "$dir/${path%/*}"
		"${linux[@]}" cat-file blob "$1:$path" >"$dir/$path" 2>/dev/null || rm -f "$dir/$path"
	done < <(touched all | grep -E '\.[ch]$' | grep -v '^tools/')
	(cd "$dir" && find . -name '*.[ch]' -print0 | xargs -0 "$build/base/scripts/kernel-doc" -none -Wall 2>&1) |
		sed -E 's/^(Warning|Error|Info): //; s/^([^: ]*):[0-9]+/\1/' | sort -u
}

check_kernel-doc() {
	doc_complaints base >"$tmp/before"
	doc_complaints refs/heads/all >"$tmp/after"
	! comm -13 "$tmp/before" "$tmp/after" | grep . >&2 || die "kernel-doc complains"
}

check_codespell() {
	command -v codespell >/dev/null || die "codespell: not found; install it"
	cp "$top"/series/*.cover "$tmp"
	mails | while read -r name mail; do
		sed -n '/^$/,/^---$/p; s/^+//p' "$mail" >"$tmp/${name//\//-}.cover"
	done
	codespell -q 3 -L "$(sed 's/#.*//' "$top/series/codespell" | xargs | tr ' ' ,)" "$tmp"/*.cover >&2 ||
		die "codespell: see above; series/codespell lists words that are right"
}

# kmake ARG...: the kernel's make for $arch
kmake() {
	local cross=''

	[ "$arch" != arm ] || cross=arm-linux-gnueabihf-
	make -s -C "$tree" O="$obj" ARCH="$arch" W=1 CROSS_COMPILE="$cross" HOSTCC="${ccache}gcc" \
		CC="$ccache${cross}gcc" "$@" </dev/null
}

configure() {
	local fragment=$here/arch/base.config

	[ "$arch" != x86_64 ] || fragment=$here/config/series.config
	mkdir -p "$obj"
	kmake tinyconfig
	cp "$fragment" "$obj/fragment"
	[ "$arch" != arm ] || printf 'CONFIG_ARCH_%s=y\n' MULTIPLATFORM MULTI_V7 VIRT >>"$obj/fragment"
	"$tree/scripts/kconfig/merge_config.sh" -m -O "$obj" "$obj/.config" "$obj/fragment" >/dev/null
	kmake olddefconfig
}

# Brings the tree to a commit, changing as few files as possible
go_to() { # COMMIT
	local path

	while read -r path; do
		rm -f "$tree/$path"	# may be a link to base
		mkdir -p "$(dirname "$tree/$path")"
		"${linux[@]}" cat-file blob "$1:$path" >"$tree/$path" 2>/dev/null || rm -f "$tree/$path"
	done < <("${linux[@]}" diff --no-renames --name-only "$1^" "$1")
}

changed() { "${linux[@]}" diff --no-renames --name-only "$1^" "$1"; }

# What a step may break: the files that it touches. If it touches a header, all files
# that the series touches or that call hmm_range_fault(), if they exist. On other
# architectures than x86-64: mm/, of which make compiles what a step changes
objects() { # PATH...
	local path

	if [ "$arch" != x86_64 ]; then
		! printf '%s\n' "$@" | grep -qE '^(mm|include|arch)/' || echo mm/
		return
	fi
	if printf '%s\n' "$@" | grep -q '\.h$'; then
		echo "$sources"
	else
		printf '%s\n' "$@" | grep -E '^((mm|lib|drivers)/.*|samples/hmm/hmm_edu)\.c$' || true
	fi | sort -u | while read -r path; do
		[ ! -e "$tree/$path" ] || echo "$path"
	done | sed 's|/amdkfd/|/amdgpu/../amdkfd/|; s|\.c$|.o|' | buildable
}

# Without objects that are not built at this step
buildable() {
	local hidden=(accel/amdxdna) part

	for part in hmm hmm_walk; do
		grep -qw "$part\.o" "$tree/mm/Makefile" || hidden+=("^mm/$part\.o\$")
	done
	grep -q '^CONFIG_HMM_KUNIT_TEST=' "$obj/.config" || hidden+=('^mm/tests/')
	grep -vE "$(IFS='|'; echo "${hidden[*]}")" || true
}

# Compiles, and prints the warnings without the numbers of lines
compile() { # WHAT OBJECT...
	local what=$1

	shift
	[ $# -gt 0 ] || return 0
	kmake -j"$(nproc)" "$@" >"$log" 2>&1 ||
		{ grep -m 20 -E 'error|undefined|\*\*\*' "$log" >&2; die "$what does not compile for $arch; see $log"; }
	sed -nE 's/:[0-9]+(:[0-9]+)?: warning:/: warning:/p' "$log"
}

steps() { # SERIES ARCH
	local name=$1 arch=$2 tree=$out/steps obj=$out/obj-$2 log=$out/steps.log n=0
	local commit before new sources paths wanted

	rm -rf "$tree"
	cp -al "$build/base" "$tree"
	configure
	sources=$(touched "$name" | grep -E '^((mm|lib|drivers)/.*|samples/hmm/hmm_edu)\.c$' || true
		! touched "$name" | grep -q '\.h$' ||
			(cd "$tree" && grep -rlE '\bhmm_range_fault' drivers --include='*.c'))
	mapfile -t paths <<<"$sources"
	mapfile -t wanted < <(objects "${paths[@]}")
	before=$(compile "Linux" "${wanted[@]}" | sort -u)
	for commit in $("${linux[@]}" rev-list --reverse "base..refs/heads/$name"); do
		n=$((n + 1))
		go_to "$commit"
		mapfile -t paths < <(changed "$commit")
		! printf '%s\n' "${paths[@]}" | grep -q Kconfig || configure
		mapfile -t wanted < <(objects "${paths[@]}")
		new=$(compile "$name, patch $n" "${wanted[@]}" | sort -u | comm -13 <(echo "$before") -)
		[ -z "$new" ] || { echo "$new" >&2; die "$name, patch $n ($("${linux[@]}" log -1 --format=%s "$commit")): warnings"; }
	done
	rm -rf "$tree"
	say "$name, $arch: $n patches compile"
}

check_steps() {
	local name arch ccache

	ccache=$(command -v ccache >/dev/null && echo "ccache ") || true
	for name in ${SERIES:-$(names)}; do
		for arch in ${ARCHES:-x86_64 arm um}; do
			steps "$name" "$arch"
		done
	done
}

if [ "${1:-}" = -n ]; then
	shift
else
	"$here/series/series.sh"
fi
[ $# -gt 0 ] || set -- equal am quilt addressed checkpatch kernel-doc codespell repeat steps
run_checks '' "$@"
