"""The edge towards the disk. Nothing here knows of the network."""
