"""What everything else stands on: tensors, the registry of named things, threads, memory limits, exact arithmetic."""
