"""How machining centres fail: what changes in their physics, how fast, and where it shows."""

from gnn_service.demo.modes import Life, SimulatedMode, falls, geometric, linear, rises, times

MODES = (
    SimulatedMode(
        "C1", "spindle", "spindle_bearing", "Spalled front bearing of the spindle",
        (linear("spindle.bearing_defect", 1.0), times("spindle.bearing_friction", 1.6)),
        Life("exponential", 1.5, 12_000, (100, 500), exponent=5.0),
        0.1, 0.5,
        (
            rises("spindle.env_bpfo"),
            rises("spindle.kurtosis", "maximum"),
            rises("spindle.a_rms"),
            rises("spindle.t_front"),
            rises("spindle.v_rms"),
        ),
        "Change the spindle or its bearings.",
    ),
    SimulatedMode(
        "C2", "tool_clamp", "tool_clamp_force", "Weak drawbar springs",
        (linear("tool_clamp.clamp_force", 11e3), times("tool_clamp.drawbar_friction", 3.0)),
        Life("linear", 1.5, 6_000, (4_000, 15_000)),
        0.2, 0.5,
        (
            falls("tool_clamp.force", state="clamp_test"),
            rises("tool_clamp.t_clamp"),
            rises("spindle.v_rms"),
        ),
        "Replace the disc springs; clean and grease the drawbar.",
    ),
    SimulatedMode(
        "C3", "x_axis", "x_preload", "Ball screw of X without preload",
        (times("x_axis.preload", 0.2 / 1.1), linear("x_axis.backlash", 18e-6)),
        Life("linear", 2.0, 15_000, (8_000, 20_000)),
        0.2, 0.33,
        (
            falls("x_axis.i", "spread"),
            rises("x_axis.reversal", state="ball_bar_test"),
            rises("x_axis.follow_err", "spread"),
        ),
        "Preload the nut anew or replace the screw.",
        needs=("reversal_test", "ball_bar_test", "production", "warm_up"),
        given_away="a ball-bar test measures the lost motion itself, of which a preloaded screw has next to none",
    ),
    SimulatedMode(
        "C4", "lubrication_unit", "lubrication", "Guides run dry",
        (linear("lubrication_unit.pulse_volume", 0.0),),
        Life("exponential", 1.0, 8_000, (150, 300), exponent=3.0),
        0.15, 0.4,
        (
            falls("lubrication_unit.p_peak"),
            falls("lubrication_unit.t_decay"),
            rises("x_axis.i", "spread", state="reversal_test"),
            rises("y_axis.i", "spread", state="reversal_test"),
            rises("z_axis.i", "spread", state="reversal_test"),
            rises("x_axis.t_nut"),
            rises("y_axis.t_nut"),
        ),
        "Vent and refill the lubrication; replace blocked metering units.",
        given_away="a pulse pump that delivers less cannot build up its peak pressure: the switch watches just that",
    ),
    SimulatedMode(
        "C5", "a_axis", "a_clamp_leak", "Rotary seal of A leaks",
        (geometric("a_axis.clamp_leak", 0.6e-3 / 60.0),),
        Life("power", 2.0, 10_000, (2_000, 6_000), exponent=2.0),
        0.15, 0.5,
        (
            rises("hydraulic_unit.pump_on"),
            rises("hydraulic_unit.t_oil"),
        ),
        "Replace the rotary seal.",
    ),
    SimulatedMode(
        "C6", "hydraulic_unit", "hydraulic_precharge", "Accumulator without charge",
        (geometric("hydraulic_unit.charge", 30e5),),
        Life("exponential", 1.5, 12_000, (3_000, 8_000), exponent=3.0),
        0.2, 0.5,
        (
            falls("hydraulic_unit.level"),
            rises("hydraulic_unit.p", "spread"),
        ),
        "Measure and refill the gas charge.",
        needs=("production", "clamp_test"),
    ),
    SimulatedMode(
        "C7", "chiller", "chiller_fouling", "Fouled condenser",
        (times("chiller.condenser_conductance", 0.4),),
        Life("linear", 1.0, 3_000, (1_500, 5_000)),
        0.2, 0.5,
        (
            rises("chiller.p_high"),
            rises("chiller.i_comp"),
        ),
        "Clean the condenser and its filter mat.", residual=0.05,
    ),
    SimulatedMode(
        "C8", "coolant_unit", "coolant_pump_wear", "Worn high-pressure coolant pump",
        (linear("coolant_unit.volumetric_efficiency", 0.6),),
        Life("linear", 2.0, 5_000, (2_000, 6_000)),
        0.15, 0.6,
        (
            rises("coolant_unit.n_pump"),
            falls("coolant_unit.p_tsc"),
            falls("coolant_unit.flow"),
        ),
        "Replace the high-pressure pump; check the filtration.",
        needs=("production",),
    ),
    SimulatedMode(
        "C9", "z_axis", "z_brake_drag", "Dragging brake of Z",
        (linear("z_axis.brake_drag", 6.0),),
        Life("intermittent", 1.0, 10_000, (200, 1_000)),
        0.15, 0.5,
        (
            rises("z_axis.t_motor"),
            rises("z_axis.i", "spread"),
        ),
        "Check the brake's supply and air gap; replace it.",
        needs=("production", "warm_up", "reversal_test", "ball_bar_test"),
    ),
    SimulatedMode(
        "C10", "drive_cabinet", "cabinet_cooling", "Clogged air filters of the cabinet",
        (linear("drive_cabinet.air_flow", 0.3),),
        Life("linear", 1.0, 2_000, (1_000, 4_000)),
        0.2, 0.6,
        (
            rises("drive_cabinet.t"),
            rises("drive_cabinet.fan"),
        ),
        "Change the filter mats; check fans and air conditioner.", residual=0.05,
    ),
    SimulatedMode(
        "C11", "chiller", "chiller_refrigerant", "Chiller short of refrigerant",
        (linear("chiller.charge", 0.6),),
        Life("step", 1.0, 15_000, (1.0, 2.0), step=0.8),
        0.3, 0.6,
        (
            falls("chiller.p_high"),
        ),
        "Let a refrigeration engineer find the leak and refill.",
    ),
    SimulatedMode(
        "C12", "coolant_unit", "coolant_filter", "Clogged coolant filter",
        (times("coolant_unit.filter_resistance", 6.0),),
        Life("linear", 1.0, 400, (200, 600)),
        0.3, 0.6,
        (
            rises("coolant_unit.filter_dp"),
        ),
        "Change the filter paper.",
        needs=("production",),
    ),
)  # fmt: skip
