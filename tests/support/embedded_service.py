"""A service that has nothing but its embedded database: ``python embedded_service.py FOLDER``, run by path.

Prints one JSON line when the database is ready, or one that starts with "refused:", then waits until its input ends
and stops in order. It is killed by tests, and run by another user than theirs.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from gnn_service.core.config_embedded import EmbeddedSettings
from gnn_service.core.errors import GnnServiceError
from gnn_service.db.embedded import EmbeddedPostgres


async def main() -> None:
    embedded = EmbeddedPostgres(Path(sys.argv[1]), EmbeddedSettings(lock_timeout_s=0.5))
    try:
        await embedded.start()
    except GnnServiceError as error:
        print(f"refused: {error}", flush=True)
        return
    ready = {"service": os.getpid(), "postmaster": embedded.pid, "url": embedded.owner_url.get_secret_value()}
    print(json.dumps(ready), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await embedded.stop()


asyncio.run(main())
