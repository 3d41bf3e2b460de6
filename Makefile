# SPDX-License-Identifier: GPL-2.0
# Each target is one script in tools/testing/hmm.

hmm := tools/testing/hmm

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort -u | \
		awk -F': *## *' '{ printf "make %-12s %s\n", $$1, $$2 }'

run: ## RDMA on demand over this hmm_range_fault(), from a bare Debian
	@$(hmm)/run/run.sh

check: ## everything that is tested; ends with "N passed, N failed, N skipped"
	@$(hmm)/check/check.sh

tree: ## Linux in build/7.3/base, and with our files in build/7.3/tree
	@$(hmm)/base/packages.sh run
	@$(hmm)/base/tree.sh tree

kernel: ## the x86-64 kernel that make run boots, in build/7.3/run
	@$(hmm)/base/packages.sh run
	@$(hmm)/base/kernel.sh run tree x86_64 vm hmm rdma

selftest: ## tools/testing/selftests/hmm in the guest
	@$(hmm)/base/packages.sh run
	@$(hmm)/check.d/20-selftests

hmm-tests: ## the kernel's own tests of HMM in the guest
	@$(hmm)/base/packages.sh run
	@$(hmm)/check.d/10-hmm-tests

apply: ## our files and patches into a 7.3 tree of yours: make apply TREE=dir
	@$(hmm)/base/apply.sh "$(TREE)"

clean: ## remove what was built; the download stays
	@rm -rf build/7.3 build/log

.PHONY: help run check tree kernel selftest hmm-tests apply clean

include $(wildcard $(hmm)/*.mk)
