"""What computes. Back ends and adapters attach to a Runner and nowhere else."""
