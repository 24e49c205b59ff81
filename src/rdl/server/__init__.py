"""Files and downloads for many readers over HTTP/1.1."""
