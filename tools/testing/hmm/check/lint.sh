#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# lint.sh [sparse] [cocci] [shell] [packages] [syz] - static checks
#
#   sparse  types and locks of what we change in mm/, lib/ and samples/; a sparse
#           that can parse this kernel is built if there is none
#   cocci   the kernel's semantic patches (coccicheck) on our own files
#   shell   shellcheck on our scripts
#   packages  every command in our scripts is on every Debian, or in base/packages.list
#   syz     the descriptions for syzkaller are those of the test driver's interface
set -euo pipefail
. "$(dirname "$0")/../env.sh"

out=$top/build/lint
version=0.6.5
passed=0 failed=0

# valid SPARSE: can it parse this kernel?
valid() {
	[ -x "$1" ] && [ "$(sh "$build/base/scripts/checker-valid.sh" "$1")" = 1 ]
}

# The package in Debian 12 and 13 is too old, and a newer one needs another libc
build_sparse() {
	local orig

	say "the sparse here is too old for this kernel: building $version" >&2
	orig=$("$here/base/packages.sh" fetch-source sparse)
	[[ $orig == *sparse_$version* ]] || say "${orig##*/}: newer than the tested version" >&2
	mkdir -p "$out/sparse"
	tar -xf "$orig" -C "$out/sparse" --strip-components=1
	make -s -C "$out/sparse" -j"$(nproc)" sparse HAVE_SQLITE=no HAVE_LIBXML=no \
		HAVE_GTK=no HAVE_LLVM=no >&2
}

sparse() {
	local checker objects

	checker=$(command -v sparse || true)
	if ! valid "$checker"; then
		checker=$out/sparse/sparse
		valid "$checker" || build_sparse
		valid "$checker" || die "$checker: cannot parse this kernel"
	fi
	mapfile -t objects < <(cd "$top" && find mm lib samples/hmm/hmm_edu.c -name '*.c' -o -name '*.c.*patch' |
		sed 's/\.c\..*patch$/.c/; s/\.c$/.o/' | sort -u)
	make -s -C "$build/tree" O="$build/check" ARCH=x86_64 C=2 CHECK="$checker" \
		CC="$(command -v ccache >/dev/null && echo "ccache ")gcc" "${objects[@]}" \
		>"$out/sparse.said" 2>&1 || { tail -3 "$out/sparse.said"; return 1; }
	# Without complaints about the kernel's headers
	grep -E "^$build/tree/(mm|lib|samples)/[^:]*:[0-9]" "$out/sparse.said" || true
}

# As an external module, so that only our files are checked
cocci() {
	local file

	rm -rf "$out/cocci"
	mkdir -p "$out/cocci"
	for file in mm/hmm*.c lib/test_hmm/*.c mm/tests/hmm_kunit.c samples/hmm/hmm_edu.c; do
		cp "$top/$file" "$out/cocci/"
	done
	rm -f "$out/cocci.log"	# coccicheck refuses to overwrite it
	make -s -C "$build/tree" O="$build/check" ARCH=x86_64 coccicheck MODE=report \
		M="$out/cocci" DEBUG_FILE="$out/cocci.log" >"$out/cocci.said" 2>&1 || {
		tail -2 "$out/cocci.log"
		return 1
	}
	grep -E '^[^ ]+\.[ch]:[0-9]+' "$out/cocci.said" || true
}

scripts() { # INTERPRETER
	local file

	git ls-files -c -o --exclude-standard -- tools .ci series | while read -r file; do
		! head -1 "$file" | grep -qE "^#!.*\\b($1)\$" || echo "$file"
	done
}

shell() {
	cd "$top"
	scripts '(ba)?sh' | xargs shellcheck -x -f gcc
}

# Words in the position of a command that none of our scripts defines as a function
commands() {
	local begins='(^|[|&;(!{]|\<(then|do|else|if|while|until|exec|xargs|time|nice)\>)'

	comm -23 <({
		scripts '(ba)?sh' | xargs sed '/^[[:space:]]*#/d; /^import /d' |
			grep -oE "${begins}[[:space:]]*[a-z][a-z0-9_.+-]*([[:space:];|&)]|$)" |
			sed 's/[[:space:];|&)]*$//'
		scripts python3 | xargs grep -ohE '\["[a-z][a-z0-9._+-]*"' | tr -d '"'
	} | grep -oE '[a-z][a-z0-9_.+-]*$' | sort -u) \
		<(scripts '(ba)?sh' | xargs grep -ohE '^[a-z_]+\(\)' | tr -d '()' | sort -u)
}

# Our packages with their dependencies, and what is on every Debian
packages_at_hand() {
	# shellcheck disable=SC2046 # one word a package
	apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
		--no-replaces --no-enhances \
		$(awk '/^[^#]/ { print $3 }' "$here/base/packages.list" | sort -u) |
		grep -oE '^[a-z0-9][^ :]*'
	dpkg-query -W -f '${Package} ${Essential} ${Priority}\n' |
		awk '$2 == "yes" || $3 == "required" { print $1 }'
}

packages() {
	local PATH=/usr/sbin:/usr/bin:/sbin:/bin name path package

	cd "$top"
	packages_at_hand | sort -u >"$out/packages.at-hand"
	for name in $(commands); do
		[ "$(type -t "$name")" = file ] || continue
		path=$(type -P "$name")
		package=$(dpkg -S "$path" "/usr$path" "${path#/usr}" "$(readlink -f "$path")" 2>/dev/null |
			sed -n '/^diversion/d; s/[:,].*//p' | head -1)
		grep -qxF "$package" "$out/packages.at-hand" ||
			echo "$name: is from ${package:-no package}, which is not in base/packages.list"
	done
}

# Prints a C file that compiles only if the descriptions for syzkaller agree with the header:
# the layout of structs, the size and direction of ioctls, the names of constants. What the
# header has and the descriptions do not mention becomes an #error.
assertions() { # UAPI_HEADER DESCRIPTIONS
	awk '
function size_of(type,	part) {
	if (type ~ /^array\[.*, *[0-9]+\]$/) {
		part = type
		sub(/.*, */, "", part)
		sub(/, *[0-9]+\]$/, "", type)
		return (part + 0) * size_of(substr(type, 7))
	}
	if (type ~ /^(vma64|ptr64)/)
		return 8
	if (match(type, /int(8|16|32|64)/))
		return substr(type, RSTART + 3, RLENGTH - 3) / 8
	return size[type]
}

function assert(what) {
	printf "_Static_assert(%s, \"%s:%d\");\n", what, FILENAME, FNR
}

BEGIN { print "#include <stddef.h>\n#include UAPI" }

NR == FNR {
	if ($1 == "struct" && $3 == "{")
		struct[$2] = 1
	if ($1 == "#define" && $2 ~ /^HMM_RANGE_/)
		constant[$2] = 1
	next
}

{
	words = $0
	gsub(/[^A-Za-z0-9_]+/, " ", words)
	n = split(words, word, " ")
	for (i = 1; i <= n; i++)
		mentioned[word[i]] = 1
}

/^define / { print "enum { " $2 " = " substr($0, index($0, $3)) " };" }

/^[a-z0-9_]+ = / && /HMM_RANGE_/ {
	print "static const unsigned long " $1 "[] = { " substr($0, index($0, "=") + 1) " };"
}

/^[a-z0-9_]+ \{$/ { in_struct = $1; offset = 0; widest = 1; next }

in_struct && /^}/ {
	size[in_struct] = offset
	if (in_struct in struct)
		assert("sizeof(struct " in_struct ") == " offset)
	in_struct = ""
}

in_struct {
	type = $0
	sub(/^\t[a-z0-9_]+[\t ]+/, "", type)
	sub(/[\t ]+\(out\)$/, "", type)
	if (in_struct in struct) {
		assert("offsetof(struct " in_struct ", " $1 ") == " offset)
		assert("sizeof(((struct " in_struct " *)0)->" $1 ") == " size_of(type))
	}
	offset += size_of(type)
}

/^ioctl\$/ {
	cmd = $0
	sub(/^ioctl\$/, "", cmd)
	sub(/\(.*/, "", cmd)
	if (index($0, "cmd const[" cmd "]") == 0)
		print "#error " cmd ": is described as another"
	arg = $0
	sub(/.*, arg /, "", arg)
	sub(/\)$/, "", arg)
	if (arg == "const[0]") {
		assert("_IOC_DIR(" cmd ") == _IOC_NONE")
		next
	}
	direction = arg
	sub(/^ptr\[/, "", direction)
	sub(/,.*/, "", direction)
	assert("_IOC_DIR(" cmd ") == (" (direction ~ /in/ ? "_IOC_WRITE" : 0) " | " \
	       (direction ~ /out/ ? "_IOC_READ" : 0) ")")
	type = arg
	sub(/^ptr\[[a-z]+, /, "", type)
	sub(/\]$/, "", type)
	# Structs are described below
	if (type in struct)
		assert("_IOC_SIZE(" cmd ") == sizeof(struct " type ")")
	else
		assert("_IOC_SIZE(" cmd ") == " size_of(type))
}

END {
	for (name in constant)
		if (!(name in mentioned))
			print "#error " name ": is not in the descriptions"
	for (name in struct)
		if (!(name in size))
			print "#error struct " name ": is not in the descriptions"
}
' "$@"
}

syz() {
	local header=$top/lib/test_hmm/uapi.h

	assertions "$header" "$here/check/syzkaller/dev_hmm_range.txt" >"$out/syz.c"
	gcc -fsyntax-only -DUAPI="\"$header\"" "$out/syz.c" 2>&1 | grep error || true
}

# Any output is a finding
try() { # LINTER
	local log=$out/$1.found

	if "$1" >"$log" && [ ! -s "$log" ]; then
		passed=$((passed + 1))
		echo "ok $1"
	else
		failed=$((failed + 1))
		cat "$log"
		echo "not ok $1: see $log"
	fi
}

mkdir -p "$out"
"$here/base/packages.sh" install lint
[ $# -gt 0 ] || set -- sparse cocci shell packages syz
case " $* " in
*' sparse '* | *' cocci '*) "$here/base/kernel.sh" check ;;
esac
for linter; do
	case $linter in
	sparse | cocci | shell | packages | syz) try "$linter" ;;
	*) die "$linter: not one of sparse, cocci, shell, packages, syz" ;;
	esac
done
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
