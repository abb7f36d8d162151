"""What the machine can do at most, measured in the run that it is compared with."""
