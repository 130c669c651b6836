"""Data files made from CSV, svmlight, NPZ, IDX and OpenML, or from random numbers."""
