# SPDX-License-Identifier: GPL-2.0
# Each target is one script in tools/testing/hmm.

hmm := tools/testing/hmm

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort -u | \
		sed -E 's/^([a-z-]+):.*## /\1|/' | \
		awk -F'|' '{ printf "make %-12s %s\n", $$1, $$2 }'

packages: ## install what Debian packages are missing
	@$(hmm)/packages.sh

tree: ## Linux in build/7.3/base, and with this repository's files in build/7.3/tree
	@$(hmm)/tree.sh tree

kernel: ## build the x86-64 kernel that make run boots
	@$(hmm)/kernel.sh run tree x86_64 vm hmm rdma

clean: ## remove what was built; downloads stay
	@rm -rf build/7.3 build/log

.PHONY: help packages tree kernel clean

-include $(hmm)/*.mk
