"""The project as its users have it: README, docs, CI, packages, sample models, benchmarks."""
