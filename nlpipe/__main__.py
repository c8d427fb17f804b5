"""`python -m nlpipe` is the `nlpipe` command."""

from nlpipe.cli import main

main()
