#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# arch.sh [-i] [-a ARCH] [ROW]... - compile for other architectures
#
# Compiles this project's objects with W=1 for every architecture with an MMU for which
# Debian has a compiler, as arch/matrix says, and prints a table. -i installs missing
# compilers.
#
# A warning counts unless stock's object causes the same one with the same
# configuration; the table says so. Nothing is linked. But the functions for huge
# entries that mm/hmm.o calls must be in mm/memory.o, which has them only on
# architectures with such entries.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

own="mm/hmm.o mm/hmm_dma.o mm/tests/hmm_kunit.o lib/test_hmm/"
clang=19
ccache=$(command -v ccache >/dev/null && echo "ccache ") || true

rows() {
	grep -v -e '^#' -e '^$' "$here/arch/matrix"
}

usage() {
	die "usage: arch.sh [-i] [-a ARCH] [ROW...]; -i installs the compilers that are missing; rows: $(rows | cut -f1 | tr '\n' ' ')"
}

# package COMPILER: the Debian packages that hold it
package() {
	case $1 in
	gcc)	echo gcc ;;
	clang)	echo clang-$clang lld-$clang llvm-$clang ;;
	*)	echo "gcc-${1%-}" ;;
	esac
}

# need COMPILER: install it if it is missing, with -i
need() {
	case $1 in
	gcc)	command=gcc ;;
	clang)	command=clang-$clang ;;
	*)	command=$1"gcc" ;;
	esac
	if command -v "$command" >/dev/null; then return; fi
	[ $install = yes ] ||
		die "$command is missing: apt-get install $(package "$1"), or arch.sh -i"
	say "installing $(package "$1")"
	# shellcheck disable=SC2046 # one word a package
	DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
		--no-install-recommends $(package "$1") >/dev/null ||
		die "cannot install $(package "$1"): see apt-get's message"
}

# kmake SOURCE ARG...: run the kernel's make for the current row
kmake() {
	local source=$1

	shift
	case $compiler in
	gcc)	set -- CC="${ccache}gcc" "$@" ;;
	clang)	set -- LLVM=-$clang CC="${ccache}clang-$clang" "$@" ;;
	*)	set -- CROSS_COMPILE="$compiler" CC="${ccache}${compiler}gcc" "$@" ;;
	esac
	make -s HOSTCC="${ccache}gcc" -C "$build/$source" O="$build/arch/$source-$arch-${compiler%-}" \
		ARCH="$arch" "$@" </dev/null
}

# fragment: the .config lines of the current row
fragment() {
	case $config in
	none)	cat "$here/arch/base.config" ;;
	full)	cat "$here/arch/base.config" "$here/arch/full.config" ;;
	*)	cat "$here/arch/base.config" ;;
	esac
	wanted
}

# wanted: the row's own options, which must be in the final .config
wanted() {
	for o in $options; do
		case $o in
		-*)	echo "# CONFIG_${o#-} is not set" ;;
		*=*)	echo "CONFIG_$o" ;;
		*)	echo "CONFIG_$o=y" ;;
		esac
	done
}

# has FILE OPTION
has() {
	grep -q "^CONFIG_$2=[ym]" "$1"
}

# lost FILE: options of the row that FILE does not have
lost() {
	wanted | while read -r line; do
		case $line in
		'#'*)	o=${line#\# CONFIG_}
			o=${o% is not set}
			! has "$1" "$o" || echo "-$o" ;;
		*)	grep -qx "$line" "$1" || echo "${line#CONFIG_}" ;;
		esac
	done | tr '\n' ' '
}

# objects FILE: the objects that exist with this configuration
objects() {
	local list="$own"

	! has "$1" DEVICE_MIGRATION || list="$list mm/migrate_device.o"
	! has "$1" ZONE_DEVICE || list="$list mm/memremap.o"
	echo "$list"
}

# letters FILE: which of THP, hugetlb, device-private, memory hotplug it has
letters() {
	for o in TRANSPARENT_HUGEPAGE:T HUGETLB_PAGE:H DEVICE_PRIVATE:D MEMORY_HOTPLUG:M; do
		if has "$1" "${o%:?}"; then printf %s "${o#*:}"; else printf -; fi
	done
}

# configure SOURCE LOG
configure() {
	local goal out

	case $config in
	all*)	goal=$config ;;
	*)	goal=alldefconfig ;;
	esac
	out=$build/arch/$1-$arch-${compiler%-}
	mkdir -p "$out"
	fragment >"$out/row.config"
	kmake "$1" KCONFIG_ALLCONFIG="$out/row.config" "$goal" >"$2" 2>&1 &&
		kmake "$1" -j2 prepare >>"$2" 2>&1
}

# complaints LOG: errors and warnings, without tree and line number
complaints() {
	sed -nE "/([Ee]rror|[Ww]arning):|undefined/{ s,[^ ]*/(tree|stock)/,,g
		s/:[0-9]+(:[0-9]+)?//p; }" "$1" | sort -u
}

# compile SOURCE LOG OBJECT...
compile() {
	local source=$1 log=$2

	shift 2
	kmake "$source" -j2 -k W=1 KCFLAGS=-fdiagnostics-color=never "$@" >"$log" 2>&1
}

# names OBJECT NM-OPTION: functions that return the page of a huge entry
names() {
	local nm=${compiler}nm

	case $compiler in
	gcc)	nm="nm" ;;
	clang)	nm=llvm-nm-$clang ;;
	esac
	"$nm" "$2" "$build/arch/tree-$arch-${compiler%-}/$1" | grep -o 'vm_normal_page_p[mu]d$' | sort
}

# missing: functions that mm/hmm.o calls and the kernel does not have
missing() {
	kmake tree -j2 mm/memory.o >"$log.memory" 2>&1 || { echo mm/memory.o; return; }
	comm -23 <(names mm/hmm.o -u) <(names mm/memory.o --defined-only)
}

# verdict: build the row; print result and remark
verdict() {
	local log=$build/arch/log/$name dot asked list failed='' absent=''

	if ! configure tree "$log"; then
		if configure stock "$log.stock"; then
			echo "FAIL	prepare: $(tail -1 "$log")"
		else
			echo "none	stock does not prepare either: $(grep -m1 -iE 'error' "$log.stock" || tail -1 "$log.stock")"
		fi
		return
	fi
	dot=$build/arch/tree-$arch-${compiler%-}/.config
	asked=$(lost "$dot")
	if [ -n "$asked" ]; then
		echo "FAIL	configuration does not give $asked"
		return
	fi
	list=$(objects "$dot")
	# shellcheck disable=SC2086 # one word an object
	compile tree "$log" $list || failed=yes
	complaints "$log" >"$log.complaints"
	[ -n "$failed" ] || absent=$(missing | tr '\n' ' ')
	if [ -n "$absent" ]; then
		echo "FAIL	cannot be linked: ${absent% }"
	elif [ -n "$failed" ] || [ -s "$log.complaints" ]; then
		against_stock
	else
		# shellcheck disable=SC2086
		echo "ok	$(set -- $list; echo $#) objects $(letters "$dot")"
	fi
}

# against_stock: does stock cause the same complaints?
against_stock() {
	local theirs='' o new

	configure stock "$log.stock" || :
	# The test driver in the stock tree is ours
	for o in $list; do
		[ -e "$build/base/${o%.o}.c" ] && theirs="$theirs $o"
	done
	# shellcheck disable=SC2086
	compile stock "$log.stock" $theirs || :
	complaints "$log.stock" >"$log.stock.complaints"
	new=$(comm -23 "$log.complaints" "$log.stock.complaints" | head -1)
	if [ -n "$new" ]; then
		echo "FAIL	$new"
	elif [ -s "$log.complaints" ]; then
		echo "stock	as stock: $(head -1 "$log.complaints")"
	else
		echo "FAIL	$(tail -1 "$log")"
	fi
}

install=no
only=
while getopts ia: o; do
	case $o in
	i)	install=yes ;;
	a)	only=$OPTARG ;;
	*)	usage ;;
	esac
done
shift $((OPTIND - 1))

# chosen: was this row requested?
chosen() {
	[ -z "$only" ] || [ "$only" = "$arch" ] || return 1
	[ -n "$names" ] || return 0
	case " $names " in *" $name "*) return 0 ;; esac
	return 1
}

names=$*
for n in $names; do
	rows | grep "^${n}[[:blank:]]" >/dev/null || usage
done
"$here/base/tree.sh" tree stock
locked arch
mkdir -p "$build/arch/log" "$top/build/arch"
results=$top/build/arch/results.txt
plan=$(mktemp)
trap 'rm -f "$plan"' EXIT
rows | while read -r name arch compiler config options; do
	! chosen || echo "$name $arch $compiler $config $options"
done >"$plan"
[ -s "$plan" ] || usage

total=$(wc -l <"$plan")
: >"$results"
nr=0 bad=0 none=0
while read -r name arch compiler config options <&3; do
	need "$compiler"
	nr=$((nr + 1))
	began=$(date +%s)
	row=$(verdict)
	case $row in
	FAIL*)	bad=$((bad + 1)) ;;
	none*)	none=$((none + 1)) ;;
	esac
	printf '%-15s %-10s %-23s %-5s %s\n' "$name" "$arch" "${compiler%-}" \
		"${row%%	*}" "${row#*	}" | tee -a "$results" |
		sed "s|^|[$nr/$total $(($(date +%s) - began)) s] |"
done 3<"$plan"
echo "$((total - bad - none)) passed, $bad failed, $none skipped" | tee -a "$results"
[ "$bad" = 0 ]
