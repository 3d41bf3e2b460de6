#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# main-job.sh - RDMA on-demand paging over hmm_range_fault(), in the guest
#
# usage: main-job.sh PROGRAMS [-s] [-t SECONDS] [-S SEED]
#
# PROGRAMS is the directory of odp_torture and hmmtop.
# -s is for a stock kernel, which does not have the counters and events of our walker.
set -euo pipefail
. "$(dirname "$0")/../../selftests/rdma/odp_setup.sh"

usage="usage: main-job.sh PROGRAMS [-s] [-t SECONDS] [-S SEED]"
programs=${1:?$usage}
shift
stock=
torture_args=()
while getopts st:S: option; do
	case $option in
	s) stock=1 ;;
	t) torture_args+=(-t "$OPTARG") ;;
	S) torture_args+=(-s "$OPTARG") ;;
	*) exit 2 ;;
	esac
done

work=$(mktemp -d /run/odp.XXXXXX)
failures=()
rows=()
hmm=/sys/kernel/debug/hmm
profile=/sys/kernel/tracing/kprobe_profile

fail() {
	echo "main-job: $*" >&2
	failures+=("$*")
}

set_up_memory() {
	local thp=/sys/kernel/mm/transparent_hugepage

	echo madvise >$thp/enabled
	echo advise >$thp/shmem_enabled
	echo 10 >$thp/khugepaged/scan_sleep_millisecs
	set_up_swap /dev/ram0 /dev/loop0
	# The storm has one of these as well
	mkswap /dev/ram1 >/dev/null
}

# rxe does not count faults and invalidations, so count the calls of two functions.
set_up_counters() {
	local tracing=/sys/kernel/tracing

	[ -e $tracing/kprobe_events ] || mount -t tracefs tracefs $tracing
	echo 0 >$tracing/tracing_on
	echo p:odp_invalidate rxe_ib_invalidate_range >>$tracing/kprobe_events
	echo p:odp_fault ib_umem_odp_map_dma_and_lock >>$tracing/kprobe_events
	echo 1 >$tracing/events/kprobes/enable
}

count_of() { # NAME FILE
	awk -v name="$1" '$1 == name { print $2 }' "$2"
}

start_hmmtop() {
	[ -z "$stock" ] || return 0
	"$programs/hmmtop" -r 100000 >"$work/hmmtop" 2>"$work/hmmtop.said" &
	hmmtop=$!
	while [ -e /proc/$hmmtop ] && ! grep -q recording "$work/hmmtop.said"; do
		sleep 0.1
	done
	calls=$(count_of calls "$hmm")
	faults=$(count_of faults "$hmm")
	taken=$(count_of odp_invalidate "$profile")
}

# As hmmtop shows it
abbreviated() { # NUMBER
	case $1 in
	????????? | ??????????*) echo "$(($1 / 1000000))M" ;;
	??????? | ????????) echo "$(($1 / 1000))k" ;;
	*) echo "$1" ;;
	esac
}

# The counts of events must agree with other counts
compare() { # WHAT COLUMN COUNT: the name "all processes" takes two columns
	local seen

	seen=$(awk -v column="$2" '$1 == "all" { print $column }' "$work/hmmtop")
	[ "$seen" = "$(abbreviated "$3")" ] || fail "hmmtop counted ${seen:-no} $1, expected $3"
}

end_hmmtop() {
	kill -TERM "$hmmtop" || true
	wait "$hmmtop" || fail "hmmtop: $(cat "$work/hmmtop.said")"
	grep -q 'none lost' "$work/hmmtop" || { fail "hmmtop lost events"; return; }
	compare calls 3 $((calls))
	compare "page faults" 5 $((faults))
	compare invalidations 6 $(($(count_of odp_invalidate "$profile") - taken))
}

# watch CLIENT SERVER: waits for both to exit; sets pinned, the maximum that the client
# has pinned, in kB. Fails if one outlives the other by 30 s, or both take 300 s.
watch() {
	local name kb end=$((SECONDS + 300))

	pinned=0
	while [ -e "/proc/$1" ] && [ -e "/proc/$2" ]; do
		while read -r name kb _; do
			[ "$name" != VmPin: ] || [ "$kb" -le "$pinned" ] || pinned=$kb
		done 2>/dev/null <"/proc/$1/status" || true
		[ $SECONDS -lt $end ] || return 1
		sleep 0.02
	done
	end=$((SECONDS + 30))
	while [ -e "/proc/$1" ] || [ -e "/proc/$2" ]; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.2
	done
}

# Waits for a listener on port 18515, up to half a minute
wait_for_server() {
	local try

	for ((try = 0; try < 150; try++)); do
		! grep -qs ':4853 [^ ]* 0A' /proc/net/tcp /proc/net/tcp6 || return 0
		sleep 0.2
	done
}

# Shows what two processes that hang are waiting for
show_stuck() { # PID...
	local pid

	grep -v '^0$' /sys/class/infiniband/rxe0/ports/1/hw_counters/* /dev/null |
		sed 's,.*/,# ,' || true
	for pid; do
		sed "s/^/# $pid: /" "/proc/$pid/stack" 2>/dev/null || true
	done
}

# run_pingpong SIZE ROUNDS [-o]: sets pinned; returns 2 if it hangs, but not due to HMM
#
# A process exits when its last message is acknowledged, and the other may hang then. rxe
# retransmits messages that are not acknowledged within 67 ms, which happens on a slow
# machine. A message that is acknowledged during its retransmission is not complete until
# that is acknowledged, too, but the peer is gone. All messages have arrived by then. And
# with a pinned buffer, HMM is not involved at all.
run_pingpong() {
	local args=(-d rxe0 -g "$gid_index" -m 4096 -s "$1" -n "$2" -c)
	local client server client_status=0 server_status=0

	# shellcheck disable=SC2206 # one option or none
	args+=(${3:-})
	# They poll; without nice they would starve watch()
	nice ibv_rc_pingpong "${args[@]}" >"$work/server" 2>&1 &
	server=$!
	wait_for_server
	nice ibv_rc_pingpong "${args[@]}" 127.0.0.1 >"$work/client" 2>&1 &
	client=$!
	if ! watch $client $server; then
		show_stuck $client $server
		kill $client $server 2>/dev/null || true
	fi
	wait $client || client_status=$?
	wait $server || server_status=$?
	case $client_status,$server_status,${3:-pinned} in
	0,0,*) ! grep -q invalid "$work/client" "$work/server" ;;
	0,143,* | 143,0,* | 143,143,pinned) return 2 ;;
	*) return 1 ;;
	esac
}

# pingpong SIZE ROUNDS [-o]: one line of the table
pingpong() {
	local size=$1 odp=${3:-} name status try pinned rate

	name="pingpong $size bytes${odp:+, on demand}"
	for try in 1 2 3; do
		status=0
		run_pingpong "$@" || status=$?
		[ $status = 2 ] || break
		echo "$name: try $try hangs in rxe"
	done
	if [ $status != 0 ]; then
		cat "$work/client" "$work/server" >&2
		fail "$name failed"
		return
	fi
	rate=$(awk '/Mbit/ { print $(NF - 1) }' "$work/client")
	rows+=("$(printf '%-36s %8s Mbit/s  %6s kB pinned' "$name" "$rate" "$pinned")")
	if [ -n "$odp" ] && [ "$pinned" != 0 ]; then
		fail "$name: $pinned kB pinned"
	elif [ -z "$odp" ] && [ "$pinned" = 0 ]; then
		fail "$name: nothing pinned, so the measurement is useless"
	fi
}

pingpongs() {
	local size rounds

	while read -r size rounds; do
		pingpong "$size" "$rounds"
		pingpong "$size" "$rounds" -o
	done <<<"4096 300
65536 60
1048576 8"
}

torture() {
	local status=0

	"$programs/odp_torture" -d rxe0 -g "$gid_index" -w /dev/ram1 "${torture_args[@]}" |
		tee "$work/torture" || status=$?
	[ "$status" = 0 ] || fail "the torture test failed (status $status)"
	for what in "bytes checked" "invalidations seen" "device faults"; do
		grep -q "^$what  *[1-9]" "$work/torture" || fail "torture: no $what"
	done
}

# A stock kernel has no such file.
show_walker() {
	if [ ! -e "$hmm" ]; then
		fail "$hmm does not exist: this kernel does not have our walker"
		return
	fi
	calls=$(($(count_of calls "$hmm") - calls))
	faults=$(($(count_of faults "$hmm") - faults))
	if [ $calls = 0 ] || [ $faults = 0 ]; then
		fail "$hmm counted $calls calls and $faults page faults, expected some of both"
	fi
	rows+=("$(printf '%-36s %8s calls, %s page faults' \
		"our hmm_range_fault()" "$calls" "$faults")")
	end_hmmtop
}

echo "== setting up rxe0 on dummy0"
set_up_device rxe0 dummy0 10.73.0.1
set_up_memory
set_up_counters
start_hmmtop
echo "== pingpong, pinned and on demand"
pingpongs
echo "== torture"
torture
if [ -z "$stock" ]; then
	show_walker
fi

echo "== summary ($(uname -r))"
printf '%s\n' "${rows[@]}"
grep -E '^(bytes checked|mismatches|invalidations seen|pages faulted|pinned)' \
	"$work/torture" || true
if [ -e "$work/hmmtop" ]; then
	cat "$work/hmmtop"
fi
if [ ${#failures[@]} -gt 0 ]; then
	printf 'FAILED: %s\n' "${failures[@]}"
	exit 1
fi
echo "all checks passed"
