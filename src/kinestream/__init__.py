"""kinestream: streaming 3D human motion from text and music."""
