coverage: ## lines and branches of mm/hmm.c and mm/hmm_dma.c that the tests reach
	@$(hmm)/check/coverage.sh

.PHONY: coverage
