docs: ## Documentation/mm/hmm.rst and all that it includes, as HTML
	@$(hmm)/docs.sh

.PHONY: docs
