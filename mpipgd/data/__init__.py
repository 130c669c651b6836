"""Rows of features: in memory, on disk, in HDF5 files, and made from other files."""
