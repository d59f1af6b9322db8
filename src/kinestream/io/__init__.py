"""Files to Motion and back."""
