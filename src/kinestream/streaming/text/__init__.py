"""Text to motion, streamed: the engine, its sessions, and whole motions in one call."""
