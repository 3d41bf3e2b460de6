# SPDX-License-Identifier: GPL-2.0
bench: ## measure it against stock and against its targets (30 min)
	@$(hmm)/bench/bench.sh

.PHONY: bench
