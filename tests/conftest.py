"""Settings that every test shares."""

from hypothesis import settings

# A deadline is a timing assertion, and shared machines are noisy.
settings.register_profile("spinlock", deadline=None, print_blob=True)
settings.load_profile("spinlock")
