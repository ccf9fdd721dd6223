"""From files to files: what the command line calls, and what a Python program may call."""
