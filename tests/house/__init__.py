"""House rules: what a reader of the code may rely on, held by reading the code."""
