"""Who is measured: spinlock's backends and their peers, each behind the same three verbs."""
