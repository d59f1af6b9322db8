"""What leaves or enters through a socket. No motion is computed here."""
