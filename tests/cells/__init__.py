"""Every cell of the grid, by the kit that plugin authors test with (docs/testing.md).

The first architecture of each family is in every run of the tests, all of them in `make test-all`, which writes the
evidence that `nlpipe tasks --grid` shows. Steps and rates are what teaches a tiny model the rule, measured. Where
an architecture of every run has a smaller number (SHORTER, SOONER), two seeds learnt the rule in five sixths of it; but
answers on BERT, whose 1,000 steps are few for some seeds, and answers in words on GPT-2, tried with one.
"""

# The architectures of the design, the quickest of each family first.
READERS = (
    *("bert", "gpt2", "t5"),
    *("roberta", "distilbert", "bigbird", "modernbert", "gpt_neo", "bloom", "llama", "bart", "marian"),
)
WRITERS = (
    *("bert", "gpt2", "bart"),
    *("roberta", "distilbert", "bigbird", "modernbert", "gpt_neo", "bloom", "llama", "t5", "marian"),
)

# Decoders whose attention cannot be opened: what stands behind a word does not help them.
CLOSED = ("gpt_neo", "bloom")
OPENED = ("gpt2", "llama")
BOTH_SIDES = tuple(name for name in READERS if name not in (*CLOSED, *OPENED))
