"""The text-to-motion networks on a GPU: slots in its memory, captured graphs."""
