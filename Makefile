# SPDX-License-Identifier: GPL-2.0

hmm := tools/testing/hmm
guest := $(hmm)/guest/guest.py
packages := @$(hmm)/base/packages.sh install

help: ## show this list
	@awk '/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { name = $$0; sub(/:.*/, "", name); sub(/.*## /, ""); \
		printf "  make %-13s %s\n", name, $$0 }' $(firstword $(MAKEFILE_LIST))

##@ Everyday

run: ## build and boot a kernel, stress RDMA on-demand paging on it; needs only Debian
	@$(hmm)/run/run.sh

sample: ## run the sample driver with a device of QEMU: IOMMU=intel, virtio or none; MIB=1024
	@$(hmm)/run/run.sh sample

check: ## run all tests, or SUITES="kunit rdma"; ends with "N passed, N failed, N skipped"
	@$(hmm)/check/check.sh $(SUITES)

kunit: ## run the KUnit tests, natively: TEST=hmm.NAME MACHINES="um x86_64 i386 arm arm-lpae"
	$(packages) run
	@$(guest) $(if $(TEST),-f "$(TEST)") kunit $(MACHINES)

selftest: ## run selftests in a guest: TEST="PROGRAM -r FIXTURE.NAME" DIR=hmm
	$(packages) run
	@$(guest) kselftest $(or $(KERNEL),check) $(or $(DIR),hmm) $(TEST)

hmm-tests: ## run the kernel's own HMM tests in a guest
	$(packages) run
	@$(hmm)/check/check.sh hmm-

tree: ## unpack Linux in build/7.3/base (BASE=7.2: build/7.2), add our files in build/7.3/tree
	$(packages) run
	@$(hmm)/base/tree.sh tree

kernel: ## build the x86-64 kernel that make run boots, in build/7.3/run
	$(packages) run
	@$(hmm)/base/kernel.sh run

docs: ## render Documentation/mm as HTML
	$(packages) docs
	@$(hmm)/check/docs.sh

clean: ## remove everything that was built, but not the download
	@rm -rf build/[0-9]* build/fallback build/log

##@ Proof

compare: ## run the tests on a stock kernel and on this one; BASE=6.12 FIXED=1: on stock with fixes
	$(packages) run
	@$(hmm)/check/compare.py $(PROGRAMS)

mutants: ## reintroduce old bugs one by one, and check that tests fail: MUTANTS="guard-error"
	$(packages) run
	@$(hmm)/mutants/mutants.sh $(MUTANTS)

rows: ## list the tests and mutants of each row of rows.md, and check that they exist
	$(packages) run
	@$(hmm)/check/compare.py --rows

coverage: ## measure which lines and branches of mm/hmm.c and mm/hmm_dma.c are tested
	$(packages) run
	@$(hmm)/check/coverage.py

kmsan: ## run the selftests on a kernel that detects uninitialised memory; LLVM=-19
	$(packages) kmsan
	@LLVM=$(or $(LLVM),-19) $(guest) -m 14G -t 3600 kselftest kmsan hmm $(TEST)

user: ## test mm/hmm.c in user space with random page tables; takes seconds
	$(packages) user
	@$(hmm)/check/user.sh worlds

fuzz: ## fuzz mm/hmm.c in user space with libFuzzer: make fuzz FUZZ=seconds
	$(packages) user
	@FUZZ=$(or $(FUZZ),600) $(hmm)/check/user.sh fuzz

prove: ## prove the steps of the page table walk with CBMC
	$(packages) prove
	@$(hmm)/check/user.sh prove

litmus: ## check locks and barriers with the kernel's memory model
	$(packages) litmus
	@$(hmm)/check/user.sh litmus

user-mutants: ## check that the user space tests notice bugs: MUTANTS="fault-drops-lock secretmem"
	$(packages) user
	@$(hmm)/check/user.sh mutants

bench: ## measure speed against stock and bench/targets.tsv (1 h)
	$(packages) bench
	@$(hmm)/bench/bench.sh

lint: ## run sparse, coccicheck and shellcheck on our files (10 min)
	@$(hmm)/check/lint.sh $(LINTERS)

drivers: ## compile the drivers that are patched or call hmm_range_fault()
	$(packages) drivers
	@$(hmm)/arch/arch.sh drivers-x86_64 drivers-arm64 drivers-ppc64le

arch: ## compile for every architecture: make arch ARCH=arm, ROWS="arm i386-pae"
	$(packages) run
	@$(hmm)/arch/arch.sh -i $(if $(ARCH),-a $(ARCH)) $(ROWS)

arm: ## run tests on 32-bit ARM, with and without LPAE
	$(packages) arm
	@$(guest) bits32 arm arm-lpae

i386: ## run tests on i386 with PAE and high memory
	$(packages) i386
	@$(guest) bits32 i386

##@ Release

apply: ## add our files and patches to a 7.3 tree: make apply TREE=dir
	@$(hmm)/base/overlay.sh apply "$(TREE)"

fixes: ## make patches that fix the stock walker: BASE=7.3, 7.2 or 6.12
	$(packages) run
	@$(hmm)/fixes/fixes.sh

fixes-check: ## check that each fix applies in the right place and compiles
	$(packages) run
	@$(hmm)/fixes/fixes.sh check

series: ## make a series for each tree in build/series: SIGNOFF="Name <mail>" URL=where
	$(packages) series
	@$(hmm)/series/series.sh

series-check: ## check that each series applies, compiles and can be sent (hours)
	$(packages) series
	@$(hmm)/series/series-check.sh

.PHONY: fixes fixes-check help run sample check kunit selftest hmm-tests tree kernel docs clean compare mutants \
	rows coverage kmsan user fuzz prove litmus user-mutants bench lint drivers arch arm \
	i386 apply series series-check
