coverage: ## lines and branches of mm/hmm.c and mm/hmm_dma.c that the tests reach
	@$(hmm)/coverage.sh

.PHONY: coverage
