"""What Acme adds to nlpipe."""
