# SPDX-License-Identifier: GPL-2.0
# chart.gp - draw medians.tsv of the current directory as chart.svg; see ../bench.sh
set terminal svg size 960,420 font "sans-serif,12" background "white"
set output "chart.svg"
set datafile separator "\t"
set key top left
set grid ytics
set ylabel "ns per page"

# A line for each row: its title, ours, stock, lower bound, get_user_pages()
bars = "< awk -F'\t' -v OFS='\t' '{ m[$1, $2] = $3 } END { \
	n = split(\"present|present-w|hole|one-page|fault-anon-w|fault-file-r\", row, \"|\"); \
	split(\"snapshot|write met|hole|one page|fault, anon|fault, file\", title, \"|\"); \
	for (i = 1; i <= n; i++) { r = row[i]; if (!m[r, \"ours\"]) continue; \
		f = m[r, \"floor\"] m[r, \"handle_mm_fault\"] m[r, \"handle_mm_fault/16\"]; \
		g = m[r, \"get_user_pages\"]; \
		print title[i], m[r, \"ours\"], m[r, \"stock\"], f ? f : \"NaN\", g ? g : \"NaN\" } }' medians.tsv"
sizes(who) = "< awk -F'\t' -v OFS='\t' '$1 ~ /^size-/ && $2 == \"".who."\" \
	{ sub(/size-/, \"\", $1); print $1, $3, $4, $5 }' medians.tsv | sort -n"

with_sizes = int(system("grep -c '^size-' medians.tsv || true")) > 0
set multiplot layout 1, (with_sizes ? 2 : 1) title system("sed -n '1s/^# //p' medians.tsv")
set logscale y
set yrange [0.05:5000]
set style data histograms
set style fill solid 0.8 border -1
set xtics rotate by -30
plot bars using 2:xtic(1) title "this hmm\\_range\\_fault()" lc rgb "#1b7837", \
	"" using 3 title "stock" lc rgb "#b2182b", \
	"" using 4 title "lower bound" lc rgb "#999999", \
	"" using 5 title "get\\_user\\_pages()" lc rgb "#4393c3"
if (with_sizes) {
	unset xtics
	set xtics
	set logscale x 2
	set format x "2^{%L}"
	set xlabel "pages per call, present, 1 Mi in all"
	set yrange [0.5:200]
	set key top right
	plot sizes("ours") using 1:2 with linespoints title "this hmm\\_range\\_fault()" lc rgb "#1b7837" pt 7, \
		sizes("stock") using 1:2 with linespoints title "stock" lc rgb "#b2182b" pt 5, \
		sizes("floor") using 1:2 with linespoints title "lower bound" lc rgb "#999999" pt 9
}
unset multiplot
