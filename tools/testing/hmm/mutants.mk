mutants: ## put old faults back one by one, and see the tests notice each
	@$(hmm)/mutants/mutants.sh $(MUTANTS)

.PHONY: mutants
