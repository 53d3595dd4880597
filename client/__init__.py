"""What talks to the server from outside: the browser page and the Python client."""
