"""One file per asset, named after it, each in flow order: read, transform, write, report."""
