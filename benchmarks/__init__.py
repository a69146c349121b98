"""Scripts that print what the README claims; each runs beside the peer that it is compared with."""
