"""Every virtual sensor that can be measured, by the id under which the catalogue declares it."""

from gnn_service.model.virtual.accumulator import GasCharge
from gnn_service.model.virtual.estimate import Estimator
from gnn_service.model.virtual.pump import PumpLeakage
from gnn_service.model.virtual.valve import SwitchingDelay

ESTIMATORS: dict[str, Estimator] = {e.id: e for e in (SwitchingDelay(), PumpLeakage(), GasCharge())}
