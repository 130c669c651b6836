"""What a run writes and shows: its folder, the console, plots, pages, timings."""
