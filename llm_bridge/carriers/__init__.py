"""Carriers: what a trait may travel on, number sequences, Python code or chains of thought; one file each."""
