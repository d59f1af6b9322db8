"""Music to dance, streamed: the engine, its sessions, and whole dances in one call."""
