"""What the sides agree on: messages, session states and Redis keys. Imports nothing of the project."""
