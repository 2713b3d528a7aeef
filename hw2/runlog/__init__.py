"""What a run logs: kept in OUT first, delivered to MLflow when it answers."""
