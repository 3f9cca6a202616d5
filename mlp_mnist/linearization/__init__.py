"""The theory on this rung: the student's training, linearized at the init and computed before it happens."""
