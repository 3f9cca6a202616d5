"""The frame of every run, for all packages: command line, sweeps, statistics, checks, records, pictures' look."""
