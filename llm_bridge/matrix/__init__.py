"""The matrix: teachers of several traits, a student of each, and how every student likes every trait."""
