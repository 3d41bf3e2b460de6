#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# drivers.sh [x86_64|arm64|powerpc]... - compile the drivers that this project changes
# or that call hmm_range_fault(), by default for all of these. A warning is an error.
set -eu

. "$(dirname "$0")/../env.sh"
tree=$build/tree

common="64BIT SMP MODULES NET INET MULTIUSER PROC_FS PCI EFI SPARSEMEM_VMEMMAP
MEMORY_HOTPLUG MEMORY_HOTREMOVE TRANSPARENT_HUGEPAGE ZONE_DEVICE DEVICE_PRIVATE
STAGING DRM DRM_NOUVEAU DRM_NOUVEAU_SVM DRM_AMDGPU DRM_AMDGPU_USERPTR HSA_AMD
HSA_AMD_SVM DRM_XE DRM_XE_GPUSVM ACPI HYPERV MSHV_ROOT INFINIBAND
INFINIBAND_USER_ACCESS INFINIBAND_ON_DEMAND_PAGING RDMA_RXE NETDEVICES ETHERNET
NET_VENDOR_MELLANOX MLX5_CORE MLX5_INFINIBAND"

config() { # ARCH: the options that one needs
	case $1 in
	x86_64) echo "$common HYPERVISOR_GUEST PARAVIRT VIRTUALIZATION IOMMU_SUPPORT
		AMD_IOMMU DRM_ACCEL DRM_ACCEL_AMDXDNA" ;;
	arm64) echo "$common VIRTUALIZATION" ;;
	powerpc) echo "PPC64 CPU_LITTLE_ENDIAN PPC_PSERIES PPC_POWERNV SMP MODULES
		PPC_64S_HASH_MMU PPC_RADIX_MMU MULTIUSER NET SPARSEMEM_VMEMMAP
		MEMORY_HOTPLUG MEMORY_HOTREMOVE ZONE_DEVICE DEVICE_PRIVATE EVENTFD
		VIRTUALIZATION KVM_BOOK3S_64 KVM_BOOK3S_64_HV PPC_UV" ;;
	esac
}

objects() { # ARCH
	if [ "$1" = powerpc ]; then
		echo arch/powerpc/kvm/book3s_hv_uvmem.o
		return
	fi
	{
		cd "$top" && find drivers -name '*.c*.patch' |
			sed 's/\.c\.\(.*\.\)\?patch$/.c/'
		cd "$tree" && grep -rlE '\bhmm_range_fault(_unlocked_timeout)?\(' \
			--include='*.c' drivers
	} | sort -u | if [ "$1" = x86_64 ]; then cat; else grep -v accel/amdxdna; fi |
		sed 's|/amdkfd/|/amdgpu/../amdkfd/|; s|\.c$|.o|'
}

check() { # ARCH CROSS_COMPILE
	local arch=$1 obj=$build/drivers-$1 cc=$2gcc opt
	local make

	command -v "$cc" >/dev/null || die "$cc: not found; install it"
	! command -v ccache >/dev/null || cc="ccache $cc"
	make=(make -s -C "$tree" "O=$obj" "ARCH=$arch" "CROSS_COMPILE=$2" "CC=$cc")
	mkdir -p "$obj"
	for opt in $(config "$arch") WERROR; do
		echo "CONFIG_$opt=y"
	done > "$obj/fragment"
	"${make[@]}" tinyconfig
	"$tree/scripts/kconfig/merge_config.sh" -m -O "$obj" "$obj/.config" "$obj/fragment" >/dev/null
	"${make[@]}" olddefconfig
	for opt in $(config "$arch"); do
		grep -qE "^CONFIG_$opt=[ym]" "$obj/.config" || die "$arch: CONFIG_$opt cannot be set"
	done

	# shellcheck disable=SC2046 # one word per object
	set -- $(objects "$arch")
	say "$arch: $# objects"
	"${make[@]}" -j"$(nproc)" "$@" 2> "$obj/log" || { cat "$obj/log" >&2; die "$arch: does not compile"; }
	[ ! -s "$obj/log" ] || { cat "$obj/log" >&2; die "$arch: warnings"; }
}

"$here/base/tree.sh" tree
[ $# -gt 0 ] || set -- x86_64 arm64 powerpc
for arch; do
	case $arch in
	x86_64) check x86_64 "" ;;
	arm64) check arm64 aarch64-linux-gnu- ;;
	powerpc) check powerpc powerpc64le-linux-gnu- ;;
	*) die "unknown architecture $arch: x86_64, arm64 or powerpc" ;;
	esac
done
say "all compile without a warning"
