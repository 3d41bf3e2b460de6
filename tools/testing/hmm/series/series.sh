#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# series.sh [list | order NAME] - turn this repository into patch series, one for each tree of Linux
#
#   build/series/linux.git            plain Linux, a branch and a tag for each series
#   build/series/NAME/patches/        mails for plain Linux: cover letter, To: and Cc:
#   build/series/NAME/pull-request    the text of git request-pull (URL=where it will be)
#   build/series/NAME/quilt/patches/  for debian/patches: DEP-3 headers, series
#   build/series/all/                 the same for all series, one on top of the other;
#                                     patches/NAME/ is for a tree that has those before it
#   build/series/security/            mails that go to nobody but maintainers, one by one:
#                                     no numbers, no cover letter, no pull-request
#
# series/README.md describes the input. The same input produces the same output, bit for
# bit. SIGNOFF="Name <mail>" signs off, or else git's user.
#
# list only checks that each path of this repository is in one patch, and each fix in a
# series; order prints the patches of a series.
set -euo pipefail
# shellcheck source=tools/testing/hmm/env.sh
. "$(dirname "$0")/../env.sh"

series=$top/series
out=$top/build/series
url=${URL:-}
start=1794009600	# a date for the first commit; the others follow by the minute

export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_DIR=$out/linux.git GIT_INDEX_FILE=$out/index GIT_WORK_TREE=$out/work
export TZ=UTC
our_git=(env -u GIT_DIR -u GIT_INDEX_FILE -u GIT_WORK_TREE -u GIT_CONFIG_GLOBAL
	-u GIT_CONFIG_NOSYSTEM git -C "$top")

names() { sed -nE 's/^\[([^] ]*).*/\1/p' "$series/order"; }

# The patches of a series; of all: those of all series, each once
order() { # NAME
	sed 's/[[:space:]]*#.*//; /^$/d' "$series/order" |
		awk -v name="$1" '/^\[/ { in_it = name == "all" || $0 ~ "^\\[" name "[] ]"; next }
			in_it && !seen[$0]++'
}

# The word in the subjects of a series that tells which tree it is for
subject_prefix() { # NAME
	local prefix

	prefix=PATCH$(sed -nE "s/^\[$1( [^]]+)\]/\1/p" "$series/order")
	# Each subject shows that the series is not signed off
	[ -n "$signed_by" ] || prefix="UNSIGNED $prefix"
	echo "$prefix"
}

# Where a patch has its message: fixes/NAME is a fix, which has its diff as well
source_of() { # PATCH
	case $1 in
	fixes/*) echo "$top/fixes/7.3/${1#fixes/}.patch" ;;
	*) echo "$series/$1.msg" ;;
	esac
}

# The paths below "---" of a message, with directories expanded; of a fix, its links
carried() { # PATCH
	local path

	if [[ $1 = fixes/* ]]; then
		sed -n "s|^${1#fixes/}\.patch ||p" <<<"$links"
		return
	fi
	while read -r path; do
		case $path in
		*/) grep "^$path" <<<"$overlay" || die "series/$1.msg: $path is empty" ;;
		*) echo "$path" ;;
		esac
	done < <(sed '1,/^---$/d' "$series/$1.msg")
}

check_lists() {
	local patch all wrong

	all=$(for patch in $(order all); do
		[ -f "$(source_of "$patch")" ] || die "series/order names $patch, but there is no $(source_of "$patch")"
		carried "$patch" | grep -v '^-' || true
	done | sort)
	wrong=$(comm -3 <(uniq -u <<<"$all") <(cat <<<"$overlay") | sed 's/^\t*/  /')
	[ -z "$wrong" ] || {
		echo "$wrong" >&2
		die "these paths are in no patch, in two patches, or do not exist: see series/*.msg"
	}
	wrong=$(comm -23 <(cd "$series" && printf '%s\n' *.msg | sed 's/\.msg$//' | cat - \
		<(sed 's|^|fixes/|; s/\.patch$//' "$top/fixes/7.3/series") | sort) <(order all | sort))
	[ -z "$wrong" ] || die "these patches are in no series: $(xargs <<<"$wrong")"
}

# Plain Linux as a commit; only if base has changed
make_base() {
	local stamp

	stamp=$(stat -c '%i %Y' "$build/base")
	[ "$stamp" != "$(cat "$out/base.stamp" 2>/dev/null)" ] || return 0
	say "importing Linux into git (2 minutes)"
	rm -rf "$GIT_DIR" "$GIT_INDEX_FILE"
	env -u GIT_WORK_TREE git init -q --bare --initial-branch=plain
	# Treat all files as big: those go straight into a pack
	git -c core.bigFileThreshold=1 -c core.compression=1 --work-tree="$build/base" \
		add -A -f . 2>/dev/null || die "cannot import Linux into git; does $out have 0.5 GB of free space?"
	commit plain 0 "Linux $version"
	git tag base refs/heads/plain
	echo "$stamp" >"$out/base.stamp"
}

# Commits the index to a branch
commit() { # BRANCH NUMBER MESSAGE [PARENT]
	local id date

	date="$((start + 60 * $2)) +0000"
	id=$(GIT_AUTHOR_DATE=$date GIT_COMMITTER_DATE=$date git commit-tree "$(git write-tree)" \
		${4:+-p "$4"} -F - <<<"$3")
	git update-ref "refs/heads/$1" "$id"
}

# Checks out a file that is going to be changed
fetch() { # PATH
	[ -e "$GIT_WORK_TREE/$1" ] || {
		mkdir -p "$GIT_WORK_TREE/$(dirname "$1")"
		git cat-file blob ":$1" >"$GIT_WORK_TREE/$1" 2>/dev/null || rm "$GIT_WORK_TREE/$1"
	}
}

# The files that series/PATCH.sh says it makes, changes or removes
scripted() { # PATCH
	[ ! -e "$series/$1.sh" ] || sed -n 's/^# files: //p' "$series/$1.sh" | tr ' ' '\n'
}

# The files that a fix changes
fixed() { sed -n 's|^+++ b/||p' "$(source_of "$1")"; }

# Puts the files of a patch into the work tree, which has changed files only
carry() { # PATCH
	local path file

	if [[ $1 = fixes/* ]]; then
		for file in $(fixed "$1"); do
			fetch "$file"
		done
		"$here/fixes/apply.py" "$GIT_WORK_TREE" "$(source_of "$1")" || die "$1: is the order in series/order right?"
		return
	fi
	for file in $(scripted "$1"); do
		fetch "$file"
	done
	[ ! -e "$series/$1.sh" ] ||
		(cd "$GIT_WORK_TREE" && base="$build/base" top="$top" PATH="$series:$PATH" sh -eu "$series/$1.sh") ||
		die "series/$1.sh failed"
	for path in $(carried "$1"); do
		case $path in
		-*) rm -f "$GIT_WORK_TREE/${path#-}" ;;
		*.patch)
			file=$(sed -E 's/(\.[0-9]+-[^/]*)?\.patch$//' <<<"$path")
			fetch "$file"
			patch -s -F1 --no-backup-if-mismatch -r - "$GIT_WORK_TREE/$file" "$top/$path" ||
				die "$path does not apply in $1: is the order in series/order right?"
			;;
		*)
			mkdir -p "$GIT_WORK_TREE/$(dirname "$path")"
			cp -p "$top/$path" "$GIT_WORK_TREE/$path"
			;;
		esac
	done
}

# A branch with the patches of a series on top of plain Linux
make_branch() { # NAME
	local patch n=0 tree before

	before=$(git rev-parse 'base^{tree}')
	git update-ref "refs/heads/$1" base
	git read-tree base
	rm -rf "$GIT_WORK_TREE"
	mkdir -p "$GIT_WORK_TREE"
	for patch in $(order "$1"); do
		n=$((n + 1))
		carry "$patch"
		{
			(cd "$GIT_WORK_TREE" && find . -type f -printf '%P\n')
			carried "$patch" | sed -n 's/^-//p'
			scripted "$patch"
		} | git update-index --add --remove --stdin
		tree=$(git write-tree)
		[ "$before" != "$tree" ] || die "$patch changes nothing in series $1"
		before=$tree
		commit "$1" $n "$(message "$patch")" "$1"
	done
}

message() { # PATCH
	local text

	text=$(sed '/^---$/,$d' "$(source_of "$1")")
	[ -z "$signed_by" ] || text=$(git interpret-trailers --trailer "$signed_by" <<<"$text")
	echo "$text"
}

# SIGNOFF or git's user signs off. Without either, the series is not signed off, and its
# author is that of the last commit here
identity() {
	local who=${SIGNOFF:-}

	signed_by=1
	if [ -z "$who" ] && who=$("${our_git[@]}" config user.name); then
		who+=" <$("${our_git[@]}" config user.email)>" || who=''
	fi
	if [ -z "$who" ]; then
		signed_by=''
		who=$("${our_git[@]}" log -1 --format='%an <%ae>')
	fi
	[[ $who =~ ^([^\<\>]+)\ \<([^\ \<\>]+@[^\ \<\>]+)\>$ ]] || die "SIGNOFF=$who: not 'Name <mail>'"
	export GIT_AUTHOR_NAME=${BASH_REMATCH[1]} GIT_AUTHOR_EMAIL=${BASH_REMATCH[2]}
	export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
	[ -z "$signed_by" ] || signed_by="Signed-off-by: $who"
}

# Which patches of a series are in others, too
shared() { # NAME
	local other both

	for other in $(names); do
		[ "$other" != "$1" ] || continue
		both=$(order "$1" | cat -n | while read -r n patch; do
			order "$other" | grep -qxF -- "$patch" && echo "$n"
		done || true)
		[ -z "$both" ] || echo "  $other: $(xargs <<<"$both" | sed 's/ /, /g')"
	done
}

# The cover letter is also the message of the tag
cover() { # NAME [BEFORE]...
	local name=$1 also

	shift
	cat "$series/$name.cover"
	if [ $# -gt 0 ]; then
		printf '\nBase: Linux %s with the series before this one: %s.\n' "$version" "$*"
		return
	fi
	printf '\nBase: Linux %s, without any other series. The result was not tested on any\nother version.\n' "$version"
	also=$(shared "$name")
	[ -z "$also" ] ||
		printf '\nPatches that are also in other series, for trees that do not have those:\n%s\n' "$also"
}

# Prints whom a change of these paths is for, by the MAINTAINERS of plain Linux
maintainers() { # PATHS
	echo "$1" >"$out/paths"
	(cd "$build/base" && scripts/get_maintainer.pl --nogit --nogit-fallback --roles --norolestats \
		--multiline "$out/paths" 2>"$out/log") || die "get_maintainer.pl: $(head -1 "$out/log")"
}

# Whom a mail is for, by the paths in it. What nobody maintains is for HMM's maintainers.
# drm_gpusvm and drm_pagemap have no entry: xe's maintainers wrote them, and only xe uses them
recipients() { # MAIL
	local paths known

	paths=$(grep -E '^(---|\+\+\+) [ab]/' "$1")
	! grep -qE '/drm_(gpusvm|pagemap)' <<<"$paths" || paths+=$'\n+++ b/drivers/gpu/drm/xe/xe_svm.c'
	known=$GIT_DIR/recipients/$(sha1sum <<<"$paths" | cut -d' ' -f1)
	if [ ! -e "$known" ]; then
		mkdir -p "$GIT_DIR/recipients"
		maintainers "$paths" >"$out/found"
		grep -qE ' \((maintainer|supporter):' "$out/found" ||
			maintainers "$paths"$'\n'"+++ b/mm/hmm.c" >"$out/found"
		mv "$out/found" "$known"
	fi
	cat "$known"
}

header() { # NAME ADDRESSES
	[ -z "$2" ] || sed "1s/^/$1: /; 1!s/^/    /; \$!s/\$/,/" <<<"$2"
}

# Adds To: maintainers and Cc: lists. Security fixes are not for lists: see
# Documentation/process/security-bugs.rst. git send-email would send them to the list in
# "Cc: stable", too; stable-kernel-rules.rst has an address for that which goes nowhere
address() { # SERIES MAIL RECIPIENTS
	local to cc='security@kernel.org' stable=stable@kernel.org

	to=$(sed -nE 's/ \((maintainer|supporter):.*//p' <<<"$3" | awk '!seen[$0]++')
	if [ "$1" != security ]; then
		cc=$(sed -E '/ \((maintainer|supporter):/d; s/ \(.*//' <<<"$3" | awk '!seen[$0]++')
		stable=stable@vger.kernel.org
	fi
	cc=$(grep -vxF -f <(echo "$to") <<<"$cc" || true)
	awk -v to="$(header To "$to"; header Cc "$cc")" '/^$/ && !done++ { print to } 1' "$2" |
		sed "1,/^---\$/s/^Cc: stable@vger\.kernel\.org/Cc: $stable/" >"$out/mail"
	mv "$out/mail" "$2"
}

# Mails of a range of commits. The cover letter goes to all who get any of the rest. Security
# fixes are sent one by one, each for itself, and a single patch needs no cover letter
mails() { # SERIES DIR RANGE
	local mail found all='' how=(--no-cover-letter --no-numbered)

	[ "$1" = security ] || [ "$(git rev-list --count "$3")" = 1 ] ||
		how=(--cover-letter --cover-from-description=subject)
	git config "branch.$1.description" "$(cat "$out/cover")"
	# format-patch takes the cover letter from the current branch
	git symbolic-ref HEAD "refs/heads/$1"
	git format-patch -q --signature=hmm --stat=72 -M "${how[@]}" \
		--subject-prefix="$(subject_prefix "$1")" -o "$2" "$3"
	for mail in "$2"/*.patch; do
		[[ $mail != */0000-* ]] || continue
		found=$(recipients "$mail")
		all+=$found$'\n'
		address "$1" "$mail" "$found"
	done
	[ ! -e "$2/0000-cover-letter.patch" ] ||
		address "$1" "$2/0000-cover-letter.patch" "$(grep . <<<"$all" | sort -u)"
}

quilt() { # DIR RANGE
	local commit n=0 name

	mkdir -p "$1"
	for commit in $(git rev-list --reverse "$2"); do
		n=$((n + 1))
		name=$(printf '%04d-%s.patch' $n "$(git log -1 --format=%f "$commit")")
		{
			git log -1 --format=%B "$commit" | dep3 "series/ of the HMM rework" "$(git log -1 --format=%cs "$commit")"
			git diff --no-color --no-renames "$commit^" "$commit"
		} >"$1/$name"
		echo "$name" >>"$1/series"
	done
}

pull_request() { # NAME
	git tag -f -a -F "$out/cover" "for-linus-hmm-$1" "refs/heads/$1" >/dev/null
	git request-pull base "$GIT_DIR" "for-linus-hmm-$1" 2>"$out/log" |
		sed "s|^  $GIT_DIR|  ${url:-(URL of the repository)}|" >"$out/$1/pull-request" ||
		die "git request-pull: $(head -1 "$out/log")"
}

make_alone() { # NAME
	make_branch "$1"
	rm -rf "${out:?}/$1"
	cover "$1" >"$out/cover"
	mails "$1" "$out/$1/patches" "base..refs/heads/$1"
	quilt "$out/$1/quilt/patches" "base..refs/heads/$1"
	if [ "$1" = security ]; then
		cp "$out/cover" "$out/$1/README"
	else
		pull_request "$1"
	fi
	say "$1: $(order "$1" | wc -l) patches"
}

# One branch with the patches of all series, and mails for who has those before it
make_stacked() {
	local name from=base to before=()

	make_branch all
	rm -rf "$out/all"
	cat "$series/all.cover" >"$out/cover"
	mkdir -p "$out/all"
	quilt "$out/all/quilt/patches" base..refs/heads/all
	pull_request all
	mapfile -t ids < <(git rev-list --reverse base..refs/heads/all)
	for name in $(names); do
		before+=("$name")
		to=${ids[$(up_to "${before[@]}") - 1]}
		cover "$name" "${before[@]:0:${#before[@]}-1}" >"$out/cover"
		[ "$from" = "$to" ] || mails "$name" "$out/all/patches/$name" "$from..$to"
		from=$to
	done
	say "all: ${#ids[@]} patches"
}

# How many patches these series have, each counted once
up_to() { # NAME...
	local name

	for name; do order "$name"; done | sort -u | wc -l
}

[ "${1:-}" != order ] || { order "$2"; exit 0; }
overlay=$("$here/base/overlay.sh" list | sort)
links=$(cd "$top" && cut -d/ -f1 <<<"$overlay" | sort -u | xargs -I{} find {} -type l -printf '%l %p\n' |
	sed -n 's|^[./]*fixes/7\.3/||p')
check_lists
[ "${1:-}" != list ] || { say "$(order all | wc -l) patches; each path is in exactly one"; exit 0; }
"$here/base/tree.sh" base
mkdir -p "$out"
exec 9>"$out/lock"
flock -n 9 || { say "waiting for the lock on $out"; flock 9; }
version=$(awk '/^(VERSION|PATCHLEVEL|SUBLEVEL) =/ { v = v "." $3 } END { print substr(v, 2) }' "$build/base/Makefile")
identity
make_base
# Of cover letters and tags
export GIT_COMMITTER_DATE="$((start + 60 * ($(order all | wc -l) + 1))) +0000"
git update-ref -d refs/heads/hmm
for name in $(names); do
	make_alone "$name"
done
make_stacked
say "$(git rev-parse --short=12 refs/heads/all): see build/series, and series/README.md"
[ -n "$signed_by" ] ||
	say "not signed off, so do not send it: make series SIGNOFF=\"Name <mail>\", or give git a user.name and user.email"
