"""The command line: reads flags, calls the pipeline, formats what comes back."""
