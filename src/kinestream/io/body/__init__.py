"""Bodies of our own for any skeleton: rounded cones for pictures, a skinned mesh for files."""
