"""What the services share: the wire, the errors, the clients. Imports no service."""
