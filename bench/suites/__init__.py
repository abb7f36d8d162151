"""What is measured, one module per suite; each yields the rows that a record holds."""
