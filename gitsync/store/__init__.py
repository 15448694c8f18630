"""History in a database: services, components, runs, holds, and the outbox."""
