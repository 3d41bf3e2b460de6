#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# docs.sh - render Documentation/mm as HTML, by the kernel's own rules
# docs.sh check - is what the documents say true?
#
# Only mm/ is rendered, so links to other directories are broken. Sphinx's complaints
# about those are dropped; complaints about our files are errors.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

obj=$build/docs
log=$obj.log

# Our files, by the names that Sphinx uses
ours() { "$here/base/overlay.sh" list | grep -v '\.patch$' | sed 's/\.rst$//'; }

render() {
	command -v sphinx-build >/dev/null || die "sphinx-build is missing: install python3-sphinx"
	"$here/base/tree.sh" tree
	mkdir -p "$obj"
	say "rendering"
	# Sphinx warns about a page only when it renders it
	rm -rf "$obj/Documentation"
	PYTHONDONTWRITEBYTECODE=1 make -C "$build/tree" O="$obj" SPHINXDIRS=mm PYTHON3=/usr/bin/python3 \
		htmldocs >"$log" 2>&1 || { tail -5 "$log" >&2; die "does not render; see $log"; }
	local page=$obj/Documentation/output/mm/hmm.html
	[ -s "$page" ] || die "hmm.html is missing; see $log"
	! grep -E 'WARNING|ERROR' "$log" | grep -F "$(ours)" >&2 || die "warnings; see $log"
	say "${page#"$top"/}"
}

if [ "${1:-}" != check ]; then
	render
	exit
fi

doc=Documentation/mm/hmm.rst
tree=$build/tree kernel=$build/check
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
n=0 passed=0 failed=0

test_that() { # NAME COMMAND...
	n=$((n + 1))
	if "${@:2}" >"$tmp/log" 2>&1; then
		passed=$((passed + 1))
		echo "ok $n $1"
	else
		failed=$((failed + 1))
		sed 's/^/# /' "$tmp/log"
		echo "not ok $n $1"
	fi
}

# The examples, which form one module. Those of samples/hmm are quoted when the document is
# rendered, and compiled with the kernel; a quotation that does not exist causes a warning.
examples() {
	awk '
		/^\.\. code-block:: c$/	{ code = 1; next }
		code && /^[^ \t]/	{ code = 0 }
		code			{ sub(/^   /, ""); print }
	' "$tree/$doc"
}

compile_examples() { # [MAKE-ARG]...
	local dir=$tmp/examples

	mkdir -p "$dir"
	examples >"$dir/hmm_examples.c"
	[ "$(wc -l <"$dir/hmm_examples.c")" -gt 90 ] || { echo "no examples found"; return 1; }
	echo 'obj-m := hmm_examples.o' >"$dir/Makefile"
	make -C "$tree" O="$kernel" M="$dir" W=1 KCFLAGS=-Werror "$@" modules
}

# There is no longer a stub, so the symbol stays undefined
needs_hmm_mirror() {
	local dir=$tmp/unlinked

	mkdir -p "$dir"
	{ echo '#undef CONFIG_HMM_MIRROR'; examples; } >"$dir/hmm_examples.c"
	echo 'obj-m := hmm_examples.o' >"$dir/Makefile"
	make -C "$tree" O="$kernel" M="$dir" hmm_examples.o
	nm -u "$dir/hmm_examples.o" | grep -w hmm_range_fault
}

# Complaints of kernel-doc, without line numbers
complaints() { # TREE FILE...
	(cd "$1" && /usr/bin/python3 -B tools/docs/kernel-doc -none "${@:2}" 2>&1 |
		sed -E 's/:[0-9]+//' | sort -u)
}

# No complaint about our files, and no new one about the kernel's
kernel_doc() {
	! complaints "$tree" include/linux/hmm.h include/linux/hmm-dma.h \
		mm/hmm.c mm/hmm_dma.c mm/hmm_stat.h mm/hmm_trace.h | grep . &&
		! comm -13 <(complaints "$build/base" include/linux/{memremap,migrate}.h) \
			<(complaints "$tree" include/linux/{memremap,migrate}.h) | grep .
}

no_longer() { # WORD FILE...
	! (cd "$tree" && grep -rn "$1" "${@:2}")
}

# Promises are numbered in mm/hmm.c only: a reader of a test has no list at hand
no_numbered_promises() {
	! (cd "$top" && "$here/base/overlay.sh" list |
		xargs grep -nE '[Pp]romises? [0-9]')
}

# A manual, not a list of review results
is_manual() {
	[ "$(wc -l <"$tree/$doc")" -lt 700 ] && ! grep -nE '\b[CJGS][0-9]+\b' "$tree/$doc" &&
		[ "$(grep -c '^.. literalinclude:: ../../samples/hmm/hmm_edu.c' "$tree/$doc")" -ge 5 ]
}

test_that "renders without a warning" "$0"
test_that "kernel-doc has no complaint" kernel_doc
test_that "the examples are a module" compile_examples
test_that "it is short, has no codes and quotes the sample" is_manual
test_that "a driver without HMM_MIRROR does not link" needs_hmm_mirror
test_that "no HMM_FAULT_ALLOW_RETRY" no_longer HMM_FAULT_ALLOW_RETRY include/linux mm Documentation/mm
test_that "no HMM_FAULT_SNAPSHOT" no_longer HMM_FAULT_SNAPSHOT include/linux mm Documentation/mm
test_that "no CONFIG_TRANSPARENT_HUGEPAGE in the walker" no_longer CONFIG_TRANSPARENT_HUGEPAGE mm/hmm.c
test_that "no promise is quoted by its number" no_numbered_promises
test_that "each row has tests and a patch that exist" "$here/check/compare.py" --rows
test_that "the series carries each file once" "$here/series/series.sh" list
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
