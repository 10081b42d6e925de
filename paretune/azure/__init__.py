"""Azure: credentials, workspaces and blob storage. The official SDK is imported lazily."""
