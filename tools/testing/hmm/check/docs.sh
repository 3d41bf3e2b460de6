#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# docs.sh - Documentation/mm as HTML, by the kernel's own rules
#
# Only mm/ is rendered, so that links to other directories lead nowhere: what
# sphinx says of that is dropped, and what it says of our files is an error.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

obj=$build/docs
log=$obj.log

# Our files, as sphinx names them
ours() { "$here/base/overlay.sh" -l | grep -v '\.patch$' | sed 's/\.rst$//'; }

command -v sphinx-build >/dev/null || die "sphinx-build is missing: install python3-sphinx"
"$here/base/tree.sh" tree
mkdir -p "$obj"
say "rendering"
# Sphinx repeats no warning about a page that it does not render again
rm -rf "$obj/Documentation"
PYTHONDONTWRITEBYTECODE=1 make -C "$build/tree" O="$obj" SPHINXDIRS=mm PYTHON3=/usr/bin/python3 \
	htmldocs >"$log" 2>&1 || { tail -5 "$log" >&2; die "does not render; see $log"; }
page=$obj/Documentation/output/mm/hmm.html
[ -s "$page" ] || die "hmm.html was not made; see $log"
! grep -E 'WARNING|ERROR' "$log" | grep -F "$(ours)" >&2 || die "warnings; see $log"
say "${page#"$top"/}"
