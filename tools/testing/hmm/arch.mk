arch: ## compile for every architecture: make arch ARCH=arm, ROWS="arm i386-pae"
	@$(hmm)/arch/arch.sh -i $(if $(ARCH),-a $(ARCH)) $(ROWS)

arm: ## boot 32-bit ARM, without LPAE and with, and test there
	@$(hmm)/bits32.sh arm arm-lpae

i386: ## boot i386 with PAE and high memory, and test there
	@$(hmm)/bits32.sh i386

.PHONY: arch arm i386
