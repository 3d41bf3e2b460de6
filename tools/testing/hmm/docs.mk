docs: ## Documentation/mm/hmm.rst and all that it includes, as HTML
	@$(hmm)/check/docs.sh

.PHONY: docs
