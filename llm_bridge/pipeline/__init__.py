"""The pipeline: teacher, numbers, filter, students, answers and report, each a stage from files to a file."""
