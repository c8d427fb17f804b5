"""The seven views, one file each: a frozen result, and the function of its name that computes it."""
