"""Measuring what restoration mends of takes that were damaged on purpose."""
