drivers: ## compile every driver that is changed or calls hmm_range_fault()
	@$(hmm)/drivers.sh

.PHONY: drivers
