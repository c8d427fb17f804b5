"""The views on a terminal, one file each, readable at 80 columns and without colours."""
