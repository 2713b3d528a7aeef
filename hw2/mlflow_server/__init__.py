"""One tracking server for all nodes: MLflow with accounts, its files by proxy, and PostgreSQL."""
