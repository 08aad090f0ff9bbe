"""A service that has nothing but its embedded database: ``python embedded_service.py FOLDER``, run by path.

Prints one JSON line when the database is ready, or one that starts with "refused:", then waits until its input ends
and stops in order. With ``--use`` a command that needs the database for a moment. It is killed by tests, and run by
another user than theirs.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from gnn_service.core.config_embedded import EmbeddedSettings
from gnn_service.core.errors import GnnServiceError
from gnn_service.db.embedded import EmbeddedPostgres
from gnn_service.db.embedded_use import embedded_server


async def use(folder: Path) -> None:
    try:
        async with embedded_server(folder) as access:
            print(access, flush=True)
    except GnnServiceError as error:
        print(f"refused: {error}", flush=True)


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


asyncio.run(use(Path(sys.argv[1])) if "--use" in sys.argv else main())
