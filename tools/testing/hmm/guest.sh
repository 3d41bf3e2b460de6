#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# guest.sh JOB - first process of the guest that vm.sh boots
#
# JOB is sourced: it says what to run ("command"), where ("dir"), and what of
# /tmp must stay visible.
# shellcheck disable=SC2154
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/tmp TERM=dumb LC_ALL=C

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/shm /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs run /run
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
ln -sf /proc/self/fd /dev/fd

# Arguments before it are words of the command line that the kernel did not know
# shellcheck source=/dev/null
. "${!#}"
mkdir /run/host
mount --bind / /run/host
for path in /tmp /var/tmp; do
	mount -t tmpfs -o mode=1777 tmp $path
done
for path in "${visible[@]}"; do
	case $path in
	/tmp/* | /var/tmp/*)
		mkdir -p "$path" && mount --bind "/run/host$path" "$path" ;;
	esac
done
cd "$dir" || exit

for port in /sys/class/virtio-ports/*; do
	case $(cat "$port/name") in
	out) out=/dev/${port##*/} ;;
	status) status=/dev/${port##*/} ;;
	esac
done

"${command[@]}" </dev/null >"$out" 2>&1
code=$?

# kmemleak reports what it finds on the console; the young it leaves for later
leaks=/sys/kernel/debug/kmemleak
if [ -e $leaks ]; then
	echo "guest.sh: looking for leaks, which takes half a minute" >/dev/kmsg
	echo scan >$leaks
	sleep 6
	echo scan >$leaks
	cat $leaks >/dev/kmsg
fi
echo $code >"$status"
sync
echo b >/proc/sysrq-trigger
sleep 60
