"""How long does an answer take? One clock, and statistics that say what they can bear."""
