"""Failure modes of the excavator: which parameters each changes, how it comes, what shows it, what repairs it."""

from typing import Final

from gnn_service.demo.modes import Life, SimulatedMode, falls, geometric, linear, rises, times

PUMP_1_WEAR = SimulatedMode(
    "E1",
    "pump_main_1",
    "pump_1_wear",
    "Valve plate and slippers of pump 1 worn",
    (
        geometric("pump_main_1.leakage", 6.4e-11),
        linear("pump_main_1.friction", 0.05),
        times("pump_main_1.debris", 8.0),
    ),
    Life("exponential", 2.2, 10_000.0, (400.0, 1_500.0), exponent=4.0),
    detect_severity=0.15,
    service_severity=0.5,
    signs=(
        rises("pump_main_1.q_case"),
        rises("pump_main_1.p_case"),
        rises("hydraulic_tank.iso_14"),
        rises("hydraulic_tank.t_oil"),
    ),
    repair="replace or rebuild pump 1",
)
PUMP_2_STUCK = SimulatedMode(
    "E2",
    "pump_main_2",
    "pump_2_displacement_stuck",
    "Displacement control of pump 2 sticks",
    (linear("pump_main_2.max_stroke", 0.55), geometric("pump_main_2.stroke_lag", 0.6)),
    Life("intermittent", 1.0, 9_000.0, (100.0, 600.0)),
    detect_severity=0.35,
    service_severity=0.6,
    signs=(rises("pump_main_2.disp_cmd", state="levelling"),),
    repair="clean or replace the regulator of pump 2",
)
AERATION = SimulatedMode(
    "E3",
    "hydraulic_tank",
    "suction_aeration",
    "Suction line draws air, level low",
    (
        geometric("hydraulic_tank.air", 0.08),
        linear("hydraulic_tank.filling", 0.85),
        linear("hydraulic_tank.level", 0.42),
    ),
    Life("linear", 1.0, 6_000.0, (50.0, 300.0)),
    detect_severity=0.2,
    service_severity=0.6,
    signs=(
        falls("hydraulic_tank.level"),
        rises("pump_main_1.vib"),
        rises("pump_main_2.vib"),
    ),
    repair="seal the suction line, refill the tank",
)
BOOM_SEAL = SimulatedMode(
    "E4",
    "boom_cylinder",
    "boom_seal_leak",
    "Piston seals of the boom leak",
    (geometric("boom_cylinder.seal_leakage", 3e-11),),
    Life("power", 1.8, 8_000.0, (300.0, 2_000.0), exponent=2.0),
    detect_severity=0.1,
    service_severity=0.22,
    signs=(
        rises("boom_cylinder.drift_3min"),
        rises("boom_cylinder.p_rod", "maximum"),
    ),
    repair="replace the piston seals",
    needs=("hold_test",),
    given_away="with the boom held, pressure on the rod side has no other source than oil past the piston",
)
BOOM_SPOOL = SimulatedMode(
    "E5",
    "main_control_valve",
    "boom_spool_sticking",
    "Boom spool sticks",
    (
        linear("main_control_valve.boom_opening", 0.45),
        linear("main_control_valve.boom_dead_band", 0.20),
        geometric("main_control_valve.boom_spool_lag", 0.25),
    ),
    Life("intermittent", 1.0, 7_000.0, (50.0, 500.0)),
    detect_severity=0.3,
    service_severity=0.6,
    signs=(
        rises("main_control_valve.spool_cmd_boom", state="levelling"),
        falls("boom_cylinder.pos", "spread", state="levelling"),
    ),
    repair="clean or replace the boom spool",
)
RELIEF_DRIFT = SimulatedMode(
    "E6",
    "main_control_valve",
    "main_relief_drift",
    "Main relief valve opens too early",
    (linear("main_control_valve.main_relief", 260e5), linear("main_control_valve.heavy_lift_relief", 290e5)),
    Life("linear", 1.3, 9_000.0, (200.0, 2_000.0)),
    detect_severity=0.1,
    service_severity=0.22,
    signs=(
        falls("pump_main_1.p_out", "maximum"),
        falls("pump_main_2.p_out", "maximum"),
    ),
    repair="set or replace the main relief valve",
    needs=("stall", "heavy_lift", "hard_digging"),
)
COOLER_FOULING = SimulatedMode(
    "E7",
    "oil_cooler",
    "cooler_fouling",
    "Cooler clogged on the air side",
    (linear("oil_cooler.conductance", 0.4 * 1750.0), linear("oil_cooler.air_flow", 0.6 * 3.2)),
    Life("seasonal", 1.2, 1_500.0, (100.0, 600.0)),
    detect_severity=0.2,
    service_severity=0.6,
    signs=(
        rises("hydraulic_tank.t_oil"),
        rises("oil_cooler.fan_speed"),
        rises("oil_cooler.t_out"),
    ),
    repair="clean the cooler",
    residual=0.05,
)
FILTER_CLOGGING = SimulatedMode(
    "E8",
    "return_filter",
    "return_filter_clogging",
    "Return filter clogged",
    (geometric("return_filter.resistance", 8.0 * 4.6e8),),
    Life("linear", 3.0, 1_500.0, (500.0, 1_500.0)),
    detect_severity=0.2,
    service_severity=0.6,
    signs=(
        rises("return_filter.dp"),
        rises("main_control_valve.p_return"),
    ),
    repair="replace the filter element",
)
SWING_LEAK = SimulatedMode(
    "E9",
    "swing_motor",
    "swing_motor_leak",
    "Swing motor and its relief valve leak",
    (geometric("swing_motor.leakage", 6e-11), linear("swing_motor.relief_a", 190e5)),
    Life("exponential", 2.0, 9_000.0, (300.0, 1_200.0), exponent=3.0),
    detect_severity=0.2,
    service_severity=0.55,
    signs=(
        falls("swing_motor.p_a", "maximum"),
        falls("swing_motor.speed", "spread"),
    ),
    repair="rebuild the swing motor, replace its relief valve",
)
OIL_AGEING = SimulatedMode(
    "E10",
    "hydraulic_tank",
    "oil_ageing",
    "Oil aged, thinned and wet",
    (
        linear("hydraulic_tank.viscosity_40", 30e-6),
        linear("hydraulic_tank.viscosity_100", 4.9e-6),
        linear("hydraulic_tank.water", 0.95),
    ),
    Life("linear", 2.0, 4_000.0, (1_500.0, 4_000.0)),
    detect_severity=0.2,
    service_severity=0.6,
    signs=(
        rises("hydraulic_tank.water_sat"),
        rises("pump_main_1.q_case"),
        rises("pump_main_2.q_case"),
    ),
    repair="change the oil",
)
MODES: Final[tuple[SimulatedMode, ...]] = (
    PUMP_1_WEAR,
    PUMP_2_STUCK,
    AERATION,
    BOOM_SEAL,
    BOOM_SPOOL,
    RELIEF_DRIFT,
    COOLER_FOULING,
    FILTER_CLOGGING,
    SWING_LEAK,
    OIL_AGEING,
)
