"""The edge towards the network. Nothing here knows of files."""
