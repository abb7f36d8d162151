namespace spinlock {}
