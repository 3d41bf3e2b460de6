#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# user.sh WHAT... - test mm/hmm.c in user space, with tools/testing/hmm-user
#
#   worlds  WORLDS=n random worlds, with gcc and clang, and sanitizers
#   fuzz    worlds chosen by libFuzzer, for FUZZ=n seconds
#   litmus  locks and barriers, with the kernel's memory model and herd7; also with one
#           of them removed, which must make a difference
#   prove   the steps of a walk with CBMC, for all contents of tables of PROVE=n bits
#           (default 1); HMM=file for another mm/hmm.c, STEPS="names" for some steps
#   mutants reintroduce faults in mm/hmm.c and mm/hmm_dma.c: are they detected?
#           MUTANTS="names" for some of them
#   keep    store the fuzzer's inputs, reduced to those that add coverage
#
# The inputs are in corpus.txt, one on each line. Objects are in build/user.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

src=$top/tools/testing/hmm-user
out=$top/build/user
passed=0 failed=0 skipped=0

report() { # NAME LOG STATUS
	if [ "$3" = 0 ]; then
		passed=$((passed + 1))
		echo "ok $1: $(grep -a '^# ' "$2" | tail -1 | cut -c3-)"
	else
		failed=$((failed + 1))
		grep -aE '^not ok|^# again|error:|ERROR:|runtime error' "$2" | head -5 || tail -3 "$2"
		echo "not ok $1: see $2"
	fi
}

skip() { # NAME WHY
	skipped=$((skipped + 1))
	echo "ok $1 # SKIP $2"
}

# With sanitizers and libFuzzer, which are in a separate package
have_clang() {
	command -v clang >/dev/null &&
		[ -e "$(clang -print-resource-dir)/lib/linux/libclang_rt.fuzzer-$(uname -m).a" ]
}

have() { # CC
	if [ "$1" = clang ]; then have_clang; else command -v "$1" >/dev/null; fi
}

worlds_by() { # CC
	make -s -C "$src" O="$out/$1" CC="$1" &&
		"$out/$1/main" -n "${WORLDS:-20000}"
}

worlds() {
	local cc status
	local -A pids=()

	for cc in gcc clang; do
		have "$cc" || continue
		mkdir -p "$out/$cc"
		worlds_by "$cc" >"$out/$cc/log" 2>&1 &
		pids[$cc]=$!
	done
	for cc in gcc clang; do
		status=0
		if [ -z "${pids[$cc]:-}" ]; then
			skip "worlds by $cc" "it is not installed completely"
			continue
		fi
		wait "${pids[$cc]}" || status=$?
		report "worlds by $cc" "$out/$cc/log" "$status"
	done
}

instrumented="-O1 -g -fsanitize=fuzzer-no-link"
counted="-O1 -g -fsanitize=fuzzer-no-link -fprofile-instr-generate -fcoverage-mapping"

build_fuzz() { # DIR CFLAGS [VARIABLE]...
	mkdir -p "$out/$1"
	make -s -C "$src" O="$out/$1" CC=clang CFLAGS="$2" "${@:3}" fuzz
}

# One file for each line of corpus.txt, and back
spread_corpus() { # DIR
	rm -rf "$1"
	mkdir -p "$1"
	python3 -c '
import pathlib, sys
for n, line in enumerate(open(sys.argv[1])):
    pathlib.Path(sys.argv[2], str(n)).write_bytes(bytes.fromhex(line))' "$src/corpus.txt" "$1"
}

gather_corpus() { # DIR
	python3 -c '
import pathlib, sys
for hex in sorted(file.read_bytes().hex() for file in pathlib.Path(sys.argv[1]).iterdir()):
    print(hex)' "$1" >"$src/corpus.txt"
}

fuzz_for() { # SECONDS
	build_fuzz fuzz "$instrumented"
	mkdir -p "$out/fuzz/corpus"
	spread_corpus "$out/fuzz/kept"
	cd "$out/fuzz"
	./fuzz -max_len=300 -max_total_time="$1" -timeout=10 -print_final_stats=1 \
		corpus kept 2>&1 | tee fuzz.log
	sed -nE 's/^stat::number_of_executed_units: *([0-9]+)/# \1 worlds/p' fuzz.log
}

# Coverage of the two files by all inputs
cover() {
	local tool=$out/counted

	build_fuzz counted "$counted" SANITIZE= || return
	cd "$tool"
	LLVM_PROFILE_FILE=$tool/raw ./fuzz -runs=0 "$out/fuzz/corpus" "$out/fuzz/kept" >"$tool/log" 2>&1
	llvm-profdata merge -o "$tool/data" "$tool/raw"
	llvm-cov report ./fuzz -instr-profile="$tool/data" "$top"/mm/hmm{,_dma}.c |
		awk '/^(hmm|TOTAL)/ { print "# " $1 ": lines " $10 ", regions " $4 ", branches " $13 }'
}

fuzz() {
	local status=0

	if ! have_clang; then
		skip fuzz "clang is not installed completely"
		return
	fi
	fuzz_for "${FUZZ:-30}" >"$out/fuzz.said" 2>&1 || status=$?
	report fuzz "$out/fuzz.said" "$status"
	! command -v llvm-cov >/dev/null || cover
}

# A chroot of another Debian release, for a tool that this one does not have
chroot_of() { # SUITE PACKAGE
	local dir=$top/build/chroot/$1 script="" keyring=/usr/share/keyrings/debian-archive-keyring.gpg

	if [ ! -e "$dir.made" ]; then
		command -v debootstrap >/dev/null ||
			die "debootstrap is missing: apt-get install debootstrap"
		[ "$(id -u)" = 0 ] || die "debootstrap needs root"
		[ -e "/usr/share/debootstrap/scripts/$1" ] || script=sid
		rm -rf "$dir"
		mkdir -p "$dir"
		debootstrap --variant=minbase --keyring="$keyring" --include="$2" "$1" "$dir" \
			"${DEBIAN_MIRROR:-http://deb.debian.org/debian}" ${script:+"$script"} \
			>"$out/chroot.log" 2>&1 || die "debootstrap failed; see $out/chroot.log"
		touch "$dir.made"
	fi
	echo "$dir"
}

# Without the lines marked "without: NAME", or with "instead: CODE" applied
variant() { # FILE WHAT
	case $2 in
	as-is) cat "$1" ;;
	instead) sed -E 's|^(\t+)[^/]*/\* instead: (.*) \*/$|\1\2|' "$1" ;;
	*) sed "\|/\* without: $2 \*/|d" "$1" ;;
	esac
}

variants() { # FILE
	echo as-is
	sed -nE 's|.*/\* without: ([a-z]+) \*/$|\1|p; s|.*/\* instead: .*|instead|p' "$1" | sort -u
}

observe() { # FILE WHAT
	variant "$1" "$2" >"$root/hmm/test.litmus"
	chroot "$root" sh -c 'cd /hmm && herd7 -conf linux-kernel.cfg test.litmus' 2>&1
}

litmus() {
	local file what name expected wanted root

	root=$(chroot_of forky herdtools7)
	mkdir -p "$root/hmm"
	cp "$build"/base/tools/memory-model/linux-kernel.* \
		"$build/base/tools/memory-model/lock.cat" "$root/hmm/"
	for file in "$src"/litmus/*.litmus; do
		name=$(basename "$file" .litmus)
		expected=$(sed -n 's/^ \* Result: //p' "$file")
		for what in $(variants "$file"); do
			wanted=$expected
			if [ "$what" != as-is ]; then
				[ "$expected" = Never ] && wanted=Sometimes || wanted=Never
			fi
			observe "$file" "$what" >"$out/litmus.said" || true
			sed -i 's/^Observation/# &/' "$out/litmus.said"
			report "litmus $name, $what" "$out/litmus.said" \
				"$(grep -q "^# Observation [^ ]* $wanted " "$out/litmus.said"; echo $?)"
		done
	done
}

steps=${STEPS:-prove_table prove_pmd prove_hugetlb}

prove_step() { # STEP
	local dir=$root/hmm/$1 file

	mkdir -p "$dir"
	for file in prove oracle world; do
		gcc -E -P -std=gnu11 -D__CPROVER__ -I"$out/prove/include" -I"$src" -I"$top/mm" \
			-DHMM_SOURCE="\"${HMM:-$top/mm/hmm.c}\"" -DWORLD_PTE_BITS="${PROVE:-1}" \
			-DWORLD_PMD_BITS=0 -DWORLD_NR_PUDS=1 -DWORLD_SEEN=1 \
			"$src/$file.c" -o "$dir/$file.i" || return
	done
	chroot "$root" sh -c "cd /hmm/$1 && cbmc *.i --function $1 --slice-formula \
		--unwind $(((1 << ${PROVE:-1}) + 2)) --unwinding-assertions \
		--no-standard-checks --drop-unused-functions --trace"
}

prove() {
	local step status root began

	root=$(chroot_of trixie cbmc)
	mkdir -p "$out/prove"
	make -s -C "$src" O="$out/prove" headers
	for step in $steps; do
		began=$SECONDS status=0
		prove_step "$step" >"$out/$step.said" 2>&1 || status=$?
		sed -nE 's/^\*\* ([0-9]+ of [0-9]+) failed.*/# \1 assertions fail/p
			s/^\[[^]]*\] line [0-9]+ (.*): FAILURE$/not ok: \1/p' \
			"$out/$step.said" >>"$out/$step.said.sum"
		cat "$out/$step.said.sum" >>"$out/$step.said"
		rm "$out/$step.said.sum"
		report "$step, $((SECONDS - began)) s" "$out/$step.said" "$status"
	done
}

# A mutant is detected if it compiles, and breaks a promise, makes a sanitizer complain,
# or does not terminate
try_mutant() { # NAME FILE
	local dir=$out/mutant variable=HMM

	[ "$2" = mm/hmm.c ] || variable=HMM_DMA
	rm -rf "$dir"
	mkdir -p "$dir/mm"
	cp "$top/$2" "$dir/mm/"
	cp -r "$out/gcc/include" "$out/gcc"/*.o "$dir/"
	rm "$dir/$(basename "$2" .c).o"
	patch -s -F0 -p1 -d "$dir" <"$here/mutants/$1.diff" &&
		make -s -C "$src" O="$dir" "$variable=$dir/$2" CC=gcc || return 2
	ASAN_OPTIONS=abort_on_error=1 UBSAN_OPTIONS=abort_on_error=1 \
		timeout 120 "$dir/main" -n "${WORLDS:-300000}"
}

mutants() {
	local name file status=0

	mkdir -p "$out/gcc"
	worlds_by gcc >"$out/gcc/log" 2>&1 || die "without a mutant: see $out/gcc/log"
	for name in ${MUTANTS:-$(cd "$here/mutants" && printf '%s\n' *.diff | sed 's/\.diff$//')}; do
		file=$(sed -n 's|^+++ b/||p' "$here/mutants/$name.diff")
		case $file in
		mm/hmm.c | mm/hmm_dma.c) ;;
		*) continue ;;
		esac
		! grep -q '^Only in a guest' "$here/mutants/$name.diff" || continue
		status=0
		try_mutant "$name" "$file" >"$out/mutant.said" 2>&1 || status=$?
		sed -nE '/^not ok|runtime error|ERROR:|error:/ { s/^/# /p; q }' "$out/mutant.said" >"$out/mutant.why"
		[ "$status" != 124 ] || echo "# it does not terminate" >"$out/mutant.why"
		cat "$out/mutant.why" >>"$out/mutant.said"
		report "mutant $name" "$out/mutant.said" "$([ "$status" -gt 2 ]; echo $?)"
	done
}

keep() {
	fuzz_for 1 >"$out/fuzz.said" 2>&1
	rm -rf "$out/fuzz/fewer"
	mkdir "$out/fuzz/fewer"
	"$out/fuzz/fuzz" -merge=1 "$out/fuzz/fewer" "$out/fuzz/kept" "$out/fuzz/corpus" >/dev/null 2>&1
	gather_corpus "$out/fuzz/fewer"
	say "$(wc -l <"$src/corpus.txt") inputs in ${src#"$top/"}/corpus.txt"
}

[ $# -gt 0 ] || set -- worlds fuzz
mkdir -p "$out"
for what; do
	case $what in
	worlds | fuzz | litmus | prove | mutants | keep) "$what" ;;
	*) die "$what: not one of worlds, fuzz, litmus, prove, mutants, keep" ;;
	esac
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
