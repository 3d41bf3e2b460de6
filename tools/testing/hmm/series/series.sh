#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# series.sh [list] - turn this repository into a patch series
#
#   build/series/linux.git    plain Linux, our patches, the tag
#   build/series/patches/     git format-patch, with a cover letter
#   build/series/pull-request the text of git request-pull (URL=where it will be)
#   build/series/quilt/       the same patches with a quilt series file
#
# series/order names the patches.  Each has a message in series/NAME.msg.  Below its
# "---" line are the paths of this repository that it adds ("dir/" means everything
# below); "-path" removes a file.  series/NAME.sh makes intermediate states that no
# file in this repository has.  The same input produces the same output, bit for bit.
# The series is signed off by SIGNOFF="Name <mail>", or else by git's user.
#
# list only checks that each path is in exactly one patch.
set -euo pipefail
# shellcheck source=tools/testing/hmm/env.sh
. "$(dirname "$0")/../env.sh"

series=$top/series
out=$top/build/series
tag=for-linus-hmm
url=${URL:-}
start=1794009600	# a date for the first commit; the others follow by the minute

export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_DIR=$out/linux.git GIT_INDEX_FILE=$out/index GIT_WORK_TREE=$out/work
export TZ=UTC
our_git=(env -u GIT_DIR -u GIT_INDEX_FILE -u GIT_WORK_TREE -u GIT_CONFIG_GLOBAL
	-u GIT_CONFIG_NOSYSTEM git -C "$top")

order() { sed 's/[[:space:]]*#.*//; /^$/d' "$series/order"; }

# The paths below "---" of a message, with directories expanded
carried() { # NAME
	local path

	while read -r path; do
		case $path in
		*/) grep "^$path" <<<"$overlay" || die "series/$1.msg: $path is empty" ;;
		*) echo "$path" ;;
		esac
	done < <(sed '1,/^---$/d' "$series/$1.msg")
}

check_lists() {
	local name all wrong

	all=$(for name in $(order); do
		[ -f "$series/$name.msg" ] || die "series/order names $name, but there is no series/$name.msg"
		carried "$name" | grep -v '^-' || true
	done | sort)
	wrong=$(comm -3 <(uniq -u <<<"$all") <(cat <<<"$overlay") | sed 's/^\t*/  /')
	[ -z "$wrong" ] || {
		echo "$wrong" >&2
		die "these paths are in no patch, in two patches, or do not exist: see series/*.msg"
	}
}

# Plain Linux as a commit; only if base has changed
make_base() {
	local stamp

	stamp=$(stat -c '%i %Y' "$build/base")
	[ "$stamp" != "$(cat "$out/base.stamp" 2>/dev/null)" ] || return 0
	say "importing Linux into git (2 minutes)"
	rm -rf "$GIT_DIR" "$GIT_INDEX_FILE"
	env -u GIT_WORK_TREE git init -q --bare --initial-branch=hmm
	# Treat all files as big: those go straight into a pack
	git -c core.bigFileThreshold=1 -c core.compression=1 --work-tree="$build/base" \
		add -A -f . 2>/dev/null || die "cannot import Linux into git; does $out have 0.5 GB of free space?"
	commit 0 "Linux $version"
	git tag base
	echo "$stamp" >"$out/base.stamp"
}

# Commits the index to branch hmm
commit() { # NUMBER MESSAGE [PARENT]
	local id date

	date="$((start + 60 * $1)) +0000"
	id=$(GIT_AUTHOR_DATE=$date GIT_COMMITTER_DATE=$date git commit-tree "$(git write-tree)" \
		${3:+-p "$3"} -F - <<<"$2")
	git update-ref refs/heads/hmm "$id"
}

# Checks out a file that is going to be changed
fetch() { # PATH
	[ -e "$GIT_WORK_TREE/$1" ] || {
		mkdir -p "$GIT_WORK_TREE/$(dirname "$1")"
		git cat-file blob ":$1" >"$GIT_WORK_TREE/$1" 2>/dev/null || rm "$GIT_WORK_TREE/$1"
	}
}

# The files that series/NAME.sh says it makes, changes or removes
scripted() { # NAME
	[ ! -e "$series/$1.sh" ] || sed -n 's/^# files: //p' "$series/$1.sh" | tr ' ' '\n'
}

# Puts the files of a patch into the work tree, which has changed files only
carry() { # NAME
	local path file

	for file in $(scripted "$1"); do
		fetch "$file"
	done
	[ ! -e "$series/$1.sh" ] || (cd "$GIT_WORK_TREE" && base="$build/base" top="$top" sh -eu "$series/$1.sh") ||
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

make_commits() {
	local name n=0 before paths

	git update-ref refs/heads/hmm base
	git read-tree base
	rm -rf "$GIT_WORK_TREE"
	mkdir -p "$GIT_WORK_TREE"
	for name in $(order); do
		n=$((n + 1))
		before=$(git write-tree)
		carry "$name"
		paths=$(cd "$GIT_WORK_TREE" && find . -type f -printf '%P\n'
			carried "$name" | sed -n 's/^-//p'
			scripted "$name")
		git update-index --add --remove --stdin <<<"$paths"
		[ "$before" != "$(git write-tree)" ] || die "series/$name.msg: changes nothing"
		commit $n "$(message "$name")" hmm
	done
}

message() { # NAME
	sed '/^---$/,$d' "$series/$1.msg"
	[ -z "$signed" ] || printf '\n%s\n' "Signed-off-by: $GIT_AUTHOR_NAME <$GIT_AUTHOR_EMAIL>"
}

# SIGNOFF or git's user signs off. Without either, the series is not signed off, and its
# author is that of the last commit here
identity() {
	local who=${SIGNOFF:-}

	signed=1
	if [ -z "$who" ] && who=$("${our_git[@]}" config user.name); then
		who+=" <$("${our_git[@]}" config user.email)>" || who=''
	fi
	if [ -z "$who" ]; then
		signed=''
		who=$("${our_git[@]}" log -1 --format='%an <%ae>')
	fi
	[[ $who =~ ^([^\<\>]+)\ \<([^\ \<\>]+@[^\ \<\>]+)\>$ ]] || die "SIGNOFF=$who: not 'Name <mail>'"
	export GIT_AUTHOR_NAME=${BASH_REMATCH[1]} GIT_AUTHOR_EMAIL=${BASH_REMATCH[2]}
	export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
}

format() { # DIR [OPTION]...
	local dir=$1

	shift
	rm -rf "$dir"
	# Each subject shows that the series is not signed off
	[ -n "$signed" ] || set -- --subject-prefix='UNSIGNED PATCH' "$@"
	git format-patch -q --signature=hmm --stat=72 -o "$dir" "$@" base..hmm
}

# The cover letter is also the message of the tag
make_outputs() {
	local n

	n=$(order | wc -l)
	export GIT_COMMITTER_DATE="$((start + 60 * (n + 1))) +0000"
	git config branch.hmm.description "$(cat "$series/cover-letter")"
	git tag -f -a -F "$series/cover-letter" $tag hmm >/dev/null
	# format-patch takes the cover letter from the current branch
	git symbolic-ref HEAD refs/heads/hmm
	format "$out/patches" -M --cover-letter --cover-from-description=subject
	format "$out/quilt/patches" --no-renames -N
	(cd "$out/quilt/patches" && ls -- *.patch >series)
	git request-pull base "$GIT_DIR" $tag 2>"$out/log" |
		sed "s|^  $GIT_DIR|  ${url:-(URL of the repository)}|" >"$out/pull-request" ||
		die "git request-pull: $(head -1 "$out/log")"
}

overlay=$("$here/base/overlay.sh" list | sort)
check_lists
[ "${1:-}" != list ] || { say "$(order | wc -l) patches; each path is in exactly one"; exit 0; }
"$here/base/tree.sh" base
mkdir -p "$out"
exec 9>"$out/lock"
flock -n 9 || { say "waiting for another run in $out"; flock 9; }
version=$(awk '/^(VERSION|PATCHLEVEL|SUBLEVEL) =/ { v = v "." $3 } END { print substr(v, 2) }' "$build/base/Makefile")
identity
make_base
say "$(order | wc -l) patches on Linux $version"
make_commits
make_outputs
say "$(git rev-parse --short=12 $tag^{}): patches/, quilt/, pull-request and linux.git in build/series"
[ -n "$signed" ] ||
	say "not signed off, so do not send it: make series SIGNOFF=\"Name <mail>\", or give git a user.name and user.email"
