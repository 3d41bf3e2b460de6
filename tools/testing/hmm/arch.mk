arch: ## compile for every architecture: make arch ARCH=arm, ROWS="arm i386-pae"
	@$(hmm)/arch.sh -i $(if $(ARCH),-a $(ARCH)) $(ROWS)

arm: ## boot 32-bit ARM, without LPAE and with, and test there
	@$(hmm)/arm.sh

.PHONY: arch arm
