"""What people read: text and tables made of plans and results."""
