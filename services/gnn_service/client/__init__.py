"""The typed HTTP client of the service."""

from gnn_service.client.http import Client
from gnn_service.client.sync import SyncClient

__all__ = ["Client", "SyncClient"]
