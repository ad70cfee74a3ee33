"""What a run means: records come in, labelled windows, statistics, charts and a report go out. Nothing here sends a request."""
