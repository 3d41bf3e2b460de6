# SPDX-License-Identifier: GPL-2.0
#
# awk -v nr=PROGRAMS -v status=STATUS -f count-tap.awk LOG
#
# Adds up what kselftests in a guest counted: "N passed, N failed, N skipped". The
# log has a line "# PROGRAM ended with N" after each. Those whose count is missing,
# or whose end is a bad one without a failure, are one failure each; so is a guest
# that did not come to its end, or had a STATUS of its own that is not 0.
{
	sub(/\r$/, "")
}
/^# Totals:/ {
	gsub(/[a-z]+:/, "")
	pass += $3 + $5 + $6
	fail += $4 + $8
	skip += $7
	bad = $4 + $8
	counted = 1
}
/^# [^ ]+ ended with [0-9]+$/ {
	ended++
	if (!counted || ($NF && !bad)) {
		print "not ok - " $2 ($NF == 124 || $NF == 137 ? " took too long" : " ended badly")
		fail++
	}
	bad = counted = 0
}
END {
	if (ended < nr || (status && !fail)) {
		print "not ok - the guest: see above"
		fail++
	}
	printf "%d passed, %d failed, %d skipped\n", pass, fail, skip
	exit fail > 0
}
