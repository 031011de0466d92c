"""The assets of the chain: one file each, named after it, in the order read, transform, write, report."""
