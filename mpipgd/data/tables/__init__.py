"""Tables as people have them: CSV, Parquet and Arrow files, read in blocks of rows."""
