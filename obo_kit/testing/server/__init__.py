"""How the local workspace is served: transport, gate, log, pages."""
