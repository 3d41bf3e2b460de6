# SPDX-License-Identifier: GPL-2.0

hmm := tools/testing/hmm
guest := $(hmm)/guest/guest.py
packages := @$(hmm)/base/packages.sh

help: ## this list
	@awk '/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { name = $$0; sub(/:.*/, "", name); sub(/.*## /, ""); \
		printf "  make %-13s %s\n", name, $$0 }' $(firstword $(MAKEFILE_LIST))

##@ Everyday

run: ## RDMA on demand over this hmm_range_fault(), from a bare Debian
	@$(hmm)/run/run.sh

check: ## everything that is tested; ends with "N passed, N failed, N skipped"
	@$(hmm)/check/check.sh $(SUITES)

kunit: ## KUnit tests, natively: make kunit MACHINES="um x86_64 i386 arm arm-lpae"
	$(packages) run
	@$(guest) kunit $(MACHINES)

selftest: ## selftests in a guest: make selftest TEST="range -r hmm.NAME" DIR=hmm
	$(packages) run
	@$(guest) kselftest $(or $(KERNEL),check) $(or $(DIR),hmm) $(TEST)

hmm-tests: ## the kernel's own tests of HMM in a guest
	$(packages) run
	@$(hmm)/check/check.sh hmm-

tree: ## Linux in build/7.3/base (BASE=7.2: build/7.2), and with our files in build/7.3/tree
	$(packages) run
	@$(hmm)/base/tree.sh tree

kernel: ## the x86-64 kernel that make run boots, in build/7.3/run
	$(packages) run
	@$(hmm)/base/kernel.sh run

docs: ## Documentation/mm/hmm.rst and all that it includes, as HTML
	$(packages) docs
	@$(hmm)/check/docs.sh

clean: ## remove what was built; the download stays
	@rm -rf build/[0-9]* build/fallback build/log

##@ Proof

compare: ## the same tests on stock and on this, side by side
	$(packages) run
	@$(hmm)/check/compare.py $(PROGRAMS)

mutants: ## put old faults back one by one, and see the tests notice each
	$(packages) run
	@$(hmm)/mutants/mutants.sh $(MUTANTS)

rows: ## which tests and mutants there are for each row of the contract
	@$(hmm)/check/rows.py

coverage: ## lines and branches of mm/hmm.c and mm/hmm_dma.c that the tests reach
	$(packages) run
	@$(hmm)/check/coverage.py

kmsan: ## the selftests on a kernel that sees uses of uninitialised memory; LLVM=-19
	$(packages) kmsan
	@LLVM=$(or $(LLVM),-19) $(guest) -m 14G -t 3600 kselftest kmsan hmm $(TEST)

user: ## mm/hmm.c in user space, in worlds of random choices; seconds
	$(packages) user
	@$(hmm)/check/user.sh worlds

fuzz: ## the same with libFuzzer: make fuzz FUZZ=seconds
	$(packages) user
	@FUZZ=$(or $(FUZZ),600) $(hmm)/check/user.sh fuzz

prove: ## the steps of its walk, by CBMC
	@$(hmm)/check/user.sh prove

litmus: ## locks and barriers, by the kernel's memory model
	@$(hmm)/check/user.sh litmus

user-mutants: ## old faults put back, seen in user space: MUTANTS="fault-drops-lock secretmem"
	$(packages) user
	@$(hmm)/check/user.sh mutants

bench: ## measure it against stock and against its targets (30 min)
	$(packages) bench
	@$(hmm)/bench/bench.sh

lint: ## sparse, coccicheck and shellcheck on what is ours; ten minutes
	@$(hmm)/check/lint.sh $(LINTERS)

drivers: ## compile every driver that is changed or calls hmm_range_fault()
	$(packages) drivers
	@$(hmm)/arch/drivers.sh

arch: ## compile for every architecture: make arch ARCH=arm, ROWS="arm i386-pae"
	@$(hmm)/arch/arch.sh -i $(if $(ARCH),-a $(ARCH)) $(ROWS)

arm: ## boot 32-bit ARM, without LPAE and with, and test there
	$(packages) arm
	@$(guest) bits32 arm arm-lpae

i386: ## boot i386 with PAE and high memory, and test there
	$(packages) i386
	@$(guest) bits32 i386

##@ Release

apply: ## our files and patches into a 7.3 tree of yours: make apply TREE=dir
	@$(hmm)/base/apply.sh "$(TREE)"

fixes: ## stock's own walker fixed in place, as patches: BASE=7.3, 7.2 or 6.12
	$(packages) run
	@$(hmm)/fixes/fixes.sh

fixes-check: ## check that each fix lands where it is to, compiles, and can be taken
	$(packages) run
	@$(hmm)/fixes/check.sh

series: ## patches, tag and pull request in build/series: SIGNOFF="Name <mail>" URL=where
	$(packages) series
	@$(hmm)/series/series.sh

series-check: ## check that each patch of the series builds, and the last is what stands here
	$(packages) series
	@$(hmm)/series/series-check.sh

.PHONY: fixes fixes-check help run check kunit selftest hmm-tests tree kernel docs clean compare mutants \
	rows coverage kmsan user fuzz prove litmus user-mutants bench lint drivers arch arm \
	i386 apply series series-check
