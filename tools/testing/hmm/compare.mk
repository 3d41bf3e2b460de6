compare: ## the same tests on stock and on this, side by side
	@$(hmm)/check/compare.sh

.PHONY: compare
