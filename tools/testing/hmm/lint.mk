lint: ## sparse, coccicheck and shellcheck on what is ours; ten minutes
	@$(hmm)/check/lint.sh

.PHONY: lint
