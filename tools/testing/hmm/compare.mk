compare: ## the same tests on stock and on this, side by side
	@$(hmm)/compare.sh

.PHONY: compare
