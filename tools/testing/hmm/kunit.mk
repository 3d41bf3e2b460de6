kunit: ## KUnit tests, natively: make kunit MACHINES="um x86_64 i386 arm arm-lpae"
	@$(hmm)/kunit.sh $(MACHINES)

.PHONY: kunit
