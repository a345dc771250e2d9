"""How the system is brought to a machine: a laptop (`deploy.local`), a cluster, a container."""
