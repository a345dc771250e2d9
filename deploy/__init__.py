"""The deployment of the system: on one machine (`deploy.local`) or in containers (Dockerfile, `compose/`)."""
