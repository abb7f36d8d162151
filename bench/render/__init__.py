"""What people read of a record: tables in a terminal, Markdown pages, pictures."""
