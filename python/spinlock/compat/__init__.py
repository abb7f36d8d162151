"""Other libraries' names on spinlock's quantizers: change the import, keep the code."""
