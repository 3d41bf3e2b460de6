lint: ## sparse, coccicheck and shellcheck on what is ours; ten minutes
	@$(hmm)/lint.sh

.PHONY: lint
