"""Where rows come from: files, plans, generators and importers."""
