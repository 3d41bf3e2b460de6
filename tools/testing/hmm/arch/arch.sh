#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# arch.sh [-i] [-a ARCH] [ROW]... - compile for other architectures
#
# Compiles this project's objects with W=1 for every architecture with an MMU for which
# Debian has a compiler, as arch/matrix says, and prints a table. -i installs missing
# compilers. Rows drivers-* compile the drivers that this project changes or that call
# hmm_range_fault(), without W=1.
#
# A warning counts unless stock's object causes the same one with the same
# configuration, as the table shows. In drivers each one counts. Nothing is linked. But
# the functions for huge entries that mm/hmm.o calls must be in mm/memory.o, which has
# them only on architectures with such entries.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

own="mm/hmm.o mm/hmm_dma.o mm/hmm_stat.o mm/hmm_trace.o mm/tests/hmm_kunit.o lib/test_hmm/"
clang=19
ccache=$(command -v ccache >/dev/null && echo "ccache ") || true

rows() {
	grep -v -e '^#' -e '^$' "$here/arch/matrix"
}

usage() {
	die "usage: arch.sh [-i] [-a ARCH] [ROW...]; -i installs the compilers that are missing; rows: $(rows | cut -f1 | tr '\n' ' ')"
}

# need_compiler: find the current row's compiler; install it if it is missing, with -i
need_compiler() {
	case $compiler in
	gcc)	cc=gcc nm=nm args=() packages=(gcc) ;;
	clang)	cc=clang-$clang nm=llvm-nm-$clang args=("LLVM=-$clang")
		packages=("clang-$clang" "lld-$clang" "llvm-$clang") ;;
	*)	cc=${compiler}gcc nm=${compiler}nm args=("CROSS_COMPILE=$compiler")
		packages=("gcc-${compiler%-}") ;;
	esac
	if command -v "$cc" >/dev/null; then return; fi
	if [ $install = no ] || ! command -v apt-get >/dev/null; then
		die "$cc is missing; on Debian, arch.sh -i installs ${packages[*]}"
	fi
	say "installing ${packages[*]}"
	DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
		--no-install-recommends "${packages[@]}" >/dev/null ||
		die "cannot install ${packages[*]}: see apt-get's message"
}

# drivers: is this a row of drivers?
drivers() { [[ $name = drivers-* ]]; }

# obj SOURCE: where the current row is compiled
obj() {
	if drivers; then
		echo "$build/arch/$1-$name"
	else
		echo "$build/arch/$1-$arch-${compiler%-}"
	fi
}

# kmake SOURCE ARG...: run the kernel's make for the current row
kmake() {
	local source=$1

	shift
	make -s HOSTCC="${ccache}gcc" CC="$ccache$cc" "${args[@]}" -C "$build/$source" \
		O="$(obj "$source")" ARCH="$arch" "$@" </dev/null
}

# fragment OBJ: the .config lines of the current row
fragment() {
	case $config in
	tiny | drivers) cat "$1/.config" ;;
	full)	cat "$here/arch/base.config" "$here/arch/full.config" ;;
	*)	cat "$here/arch/base.config" ;;
	esac
	wanted
}

# wanted: the row's own options, which must be in the final .config
wanted() {
	[ "$config" != drivers ] || grep -v '^#' "$here/arch/drivers.config"
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

# driver_objects: those that are patched or call the walker, and that this ARCH has
driver_objects() {
	if [ "$arch" = powerpc ]; then
		echo arch/powerpc/kvm/book3s_hv_uvmem.o
		return
	fi
	{
		cd "$top" && find drivers -name '*.c*.patch' | sed 's/\.c\.\(.*\.\)\?patch$/.c/'
		cd "$build/tree" && grep -rlE '\bhmm_range_fault(_unlocked_timeout)?\(' --include='*.c' drivers
	} | sort -u | if [ "$arch" = x86_64 ]; then cat; else grep -v accel/amdxdna; fi |
		sed 's|/amdkfd/|/amdgpu/../amdkfd/|; s|\.c$|.o|'
}

# objects FILE: the objects that exist with this configuration
objects() {
	local list="$own"

	if drivers; then
		driver_objects
		return
	fi
	! has "$1" DEVICE_MIGRATION || list="$list mm/migrate_device.o"
	! has "$1" ZONE_DEVICE || list="$list mm/memremap.o"
	echo "$list"
}

# letters FILE: which of THP, hugetlb, device-private, memory hotplug it has
letters() {
	printf ' '
	for o in TRANSPARENT_HUGEPAGE:T HUGETLB_PAGE:H DEVICE_PRIVATE:D MEMORY_HOTPLUG:M; do
		if has "$1" "${o%:?}"; then printf %s "${o#*:}"; else printf -; fi
	done
}

# configure SOURCE LOG
configure() {
	local goal=alldefconfig out

	out=$(obj "$1")
	mkdir -p "$out"
	case $config in
	all*)	goal=$config ;;
	tiny | drivers) kmake "$1" tinyconfig >"$2" 2>&1 || return ;;
	esac
	fragment "$out" >"$out/row.config"
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
	local source=$1 log=$2 level=1

	shift 2
	! drivers || level=
	kmake "$source" -j2 -k W=$level KCFLAGS=-fdiagnostics-color=never "$@" >"$log" 2>&1
}

# names OBJECT NM-OPTION: functions that return the page of a huge entry
names() {
	"$nm" "$2" "$(obj tree)/$1" | grep -o 'vm_normal_page_p[mu]d$' | sort
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
	dot=$(obj tree)/.config
	asked=$(lost "$dot")
	if [ -n "$asked" ]; then
		echo "FAIL	configuration does not give $asked"
		return
	fi
	list=$(objects "$dot")
	# shellcheck disable=SC2086 # one word an object
	compile tree "$log" $list || failed=yes
	complaints "$log" >"$log.complaints"
	[ -n "$failed" ] || drivers || absent=$(missing | tr '\n' ' ')
	if [ -n "$absent" ]; then
		echo "FAIL	cannot be linked: ${absent% }"
	elif [ -z "$failed" ] && [ ! -s "$log.complaints" ]; then
		# shellcheck disable=SC2086
		echo "ok	$(set -- $list; echo $#) objects$(drivers || letters "$dot")"
	elif drivers; then
		echo "FAIL	$(cat "$log.complaints" "$log" | head -1)"
	else
		against_stock
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
	need_compiler
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
