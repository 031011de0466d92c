"""What `all` measures of loading: the chain and its raw part beside dlt, which copies the same API to one table."""
