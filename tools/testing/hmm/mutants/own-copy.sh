#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# own-copy.sh [-f CFLAGS] [-o OBJECT] DIR PATH... - a test driver that calls its own copy of a file
#
# Compiles DIR/mm/hmm.c (if PATH is mm/hmm.c) as it was compiled for kernel
# `check`, with CFLAGS in addition, and links it with the test driver to
# DIR/test_hmm_range.ko: that module calls this copy, and not the kernel's. So does
# OBJECT of the kernel, of which the module gets a copy, too. What it needs of the
# kernel and modules do not get is found by address, as vm.sh boots with nokaslr.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

usage="usage: own-copy.sh [-f CFLAGS] [-o OBJECT] DIR PATH..."
obj=$build/check
cflags='' objects=()
while getopts f:o: option; do
	case $option in
	f) cflags=$OPTARG ;;
	o) objects+=("$obj/$OPTARG") ;;
	*) die "$usage" ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || die "$usage"
dir=$(readlink -f "$1")
shift

# The commands that kbuild has used for a target
saved_command() { # TARGET
	sed -n 's/^savedcmd_[^ ]* := //p' "$obj/$(dirname "$1")/.$(basename "$1").cmd" |
		sed 's/\$\$/$/g'
}

compile() { # PATH
	local object=${1%.c}.o command objtool

	command=$(saved_command "$object")
	command=${command%% ; *}
	# What is compiled here was never compiled before
	command=${command#ccache }
	command=${command/-Wp,-MMD,"$(dirname "$object")/.$(basename "$object").d"/}
	command=${command/ -c -o "$object" "$build/tree/$1"/ $cflags -c -o "$dir/$object" "$dir/$1"}
	[[ $command == *"$dir/$1"* ]] || die "$1: no command to compile it in $obj"
	# Code of modules has been gone over by this; that of the kernel as a whole
	objtool=$(saved_command lib/test_hmm_range.o | sed -n 's/.* ; *\(.*\) [^ ]*$/\1/p')
	(cd "$obj" && eval "$command" && ${objtool:+$objtool "$dir/$object"}) >"$dir/log" 2>&1 || {
		grep -m 3 error "$dir/log" >&2
		die "$dir/$1: does not compile; see $dir/log"
	}
}

# All that the kernel has and this module does not get, with its address: what is
# not exported, or to a namespace
addresses() {
	awk '{ print $3, $1 }' "$obj/System.map" | sort -u -k 1,1 |
		join -v 1 - <(awk -F '\t' '$5 == "" { print $2 }' "$obj/Module.symvers" | sort -u)
}

undefined() { # OBJECT...
	nm "$@" | awk 'NF > 1 && $(NF - 1) == "U" { print $NF }' | sort -u
}

for path; do
	compile "$path"
	objects+=("$dir/${path%.c}.o")
done
mapfile -t symbols < <(addresses | join - <(undefined "${objects[@]}") |
	awk '{ print "--defsym=" $1 "=0x" $2 }')
ld -r -m elf_x86_64 -z noexecstack --build-id=none -T "$obj/scripts/module.lds" \
	"${symbols[@]}" -o "$dir/test_hmm_range.ko" "$obj/lib/test_hmm_range.o" \
	"$obj/lib/test_hmm_range.mod.o" "$obj/.module-common.o" "${objects[@]}" ||
	die "$dir: cannot be linked"
