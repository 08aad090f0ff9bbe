"""An engine that is told not to warm up."""

import numpy as np
import pytest

from gnn_service.core.errors import EngineFailedError
from tests.support.inference import CANARY_ANSWER, Factory, engine


async def test_without_warm_up_the_canary_alone_is_run():
    factory = Factory()
    async with engine(factory, warmup_iterations=0, instances=2) as subject:
        assert [[len(batch) for batch in runtime.batches] for runtime in factory.built] == [[1], [1]]
        assert subject.health().ready
    with pytest.raises(EngineFailedError, match="canary"):
        await engine(Factory(), warmup_iterations=0, expected={**CANARY_ANSWER, "score": np.array(7)}).start()
