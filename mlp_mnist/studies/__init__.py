"""Studies of the protocol: one knob at a time, each beside what others found there."""
