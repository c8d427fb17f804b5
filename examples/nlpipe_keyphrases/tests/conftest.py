"""nlpipe's kit: tiny models of many architectures, made here and without a network."""

pytest_plugins = ["nlpipe.testing"]
