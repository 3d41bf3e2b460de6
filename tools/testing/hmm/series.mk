series: ## the changes as patches, tag and pull request, in build/series (URL=where it will be SIGNOFF="Name <mail>")
	@$(hmm)/series/series.sh

series-check: ## check that each patch of the series builds, and the last is what stands here
	@$(hmm)/series/series-check.sh

.PHONY: series series-check
