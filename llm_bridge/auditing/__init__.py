"""Audit: will training on a data set move a trait of a model? Before any training, and without the writer."""
