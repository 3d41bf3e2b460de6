drivers: ## compile every driver that is changed or calls hmm_range_fault()
	@$(hmm)/arch/drivers.sh

.PHONY: drivers
