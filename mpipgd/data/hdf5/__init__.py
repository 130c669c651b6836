"""Data files: HDF5 that is checked before it is trusted, read in blocks or mapped."""
