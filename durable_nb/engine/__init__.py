"""Steps, runs, and the batch that ties them to the store."""
